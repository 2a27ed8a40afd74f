"""Which detections somebody must know of: rule files, the stage that applies them, and the mail that says so."""
