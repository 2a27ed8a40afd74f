"""Batches: pieces of work that many workers share, cut, worked on and closed. Knows no backend and no stage."""
