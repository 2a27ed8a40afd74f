"""Outbox: the delivery of committed alerts, each once or repeated with a mark. Knows no channel by name."""
