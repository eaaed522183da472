"""When and where work runs: settings, resources, the stages of ingestion and the runner."""
