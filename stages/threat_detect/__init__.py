"""Detection of threats: rule files, the stage that applies them, and the mail that reports a threat."""
