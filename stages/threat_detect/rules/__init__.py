"""Rule files: their schema, their classes, and which rules apply to a picture."""
