"""What vLLM needs to read Percel's page caches: a connector for its encoder cache, and a door for GLM models."""
