"""Replay of decisions: what was decided is folded again, or judged by other rules. Sends nothing and writes nothing."""
