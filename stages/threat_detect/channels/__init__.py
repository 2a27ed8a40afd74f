"""Channels that are not mail: webhooks, and the services of the library apprise."""
