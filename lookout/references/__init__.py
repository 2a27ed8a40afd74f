"""References: models and rule files, examined and then activated."""
