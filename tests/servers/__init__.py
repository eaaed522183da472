"""Real PostgreSQL and Redis servers for tests: private, on a free loopback port, in a temporary directory."""
