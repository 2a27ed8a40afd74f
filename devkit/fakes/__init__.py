"""Fakes of the world outside: SendGrid's API and a network that fails."""
