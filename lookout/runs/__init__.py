"""Runs: one process takes a source through the whole pipeline, once or as changes come."""
