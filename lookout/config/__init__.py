"""Configuration from the environment, read once by the entry points."""
