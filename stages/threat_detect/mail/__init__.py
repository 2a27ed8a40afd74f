"""Mail: the message of an alert, and the channels that deliver it."""
