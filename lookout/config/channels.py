"""Addresses and secrets of channels, from the environment alone: no rule, ledger, log or error holds them.

A rule names a channel; the environment says where it leads: ``LOOKOUT_CHANNEL_HOME_URL`` is the address of the channel
``home``, and ``LOOKOUT_CHANNEL_HOME_SECRET`` signs what is sent there. ``LOOKOUT_SMTP_URL`` is the mail server. Knows
no channel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from lookout.domain.channel_names import NAME_RULE, is_channel_name
from lookout.domain.errors import InputRejected

PREFIX: Final = "LOOKOUT_CHANNEL_"
_VARIABLE: Final = re.compile(rf"{PREFIX}([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)_(URL|SECRET)", re.ASCII)
_SMTP: Final = "LOOKOUT_SMTP_URL"
_SMTP_HINT: Final = "give it as smtp://user@host:587, or smtps://user@host:465"


def variable(name: str, what: Literal["URL", "SECRET"]) -> str:
    """Return the name of the variable with the address or the secret of a channel."""
    return f"{PREFIX}{name.upper().replace('-', '_')}_{what}"


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedChannel:
    """Address and secret of a channel, neither of which ``repr`` shows."""

    name: str
    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)

    @property
    def type(self) -> Literal["webhook", "apprise"]:
        """The type that its address has: http and https are a webhook's, other schemes are those of apprise."""
        return "webhook" if self.url.partition("://")[0].lower() in ("http", "https") else "apprise"


def named_channels(environment: Mapping[str, str]) -> dict[str, NamedChannel]:
    """Read all channels, by their names. Raises InputRejected that names the variable and does not show its value."""
    found: dict[str, dict[str, str]] = {}
    for key in sorted(environment):
        if not key.startswith(PREFIX):
            continue
        parts = _VARIABLE.fullmatch(key)
        name = parts[1].lower().replace("_", "-") if parts else ""
        if parts is None or not is_channel_name(name):
            expected = f"expected {PREFIX}<NAME>_URL or {PREFIX}<NAME>_SECRET"
            raise InputRejected(expected, key, f"a name is {NAME_RULE}, in capitals here, with _ for -")
        if value := environment[key].strip():
            _check(key, value)
            found.setdefault(name, {})[parts[2]] = value
    for name, values in found.items():
        if "URL" not in values:
            raise InputRejected(f"is set without {variable(name, 'URL')}", variable(name, "SECRET"), "set both")
    return {
        name: NamedChannel(name=name, url=values["URL"], secret=values.get("SECRET")) for name, values in found.items()
    }


def _check(key: str, value: str) -> None:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise InputRejected("has characters that are not allowed in it", key)
    if key.endswith("_URL") and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://.", value):
        raise InputRejected("expected a URL such as https://example.com/hook or ntfy://topic", key)


@dataclass(frozen=True, kw_only=True, slots=True)
class SmtpAddress:
    """Address of a mail server. With ``implicit_tls`` the connection begins with TLS, otherwise STARTTLS follows."""

    host: str
    port: int
    implicit_tls: bool = False
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> SmtpAddress | None:
        """Read LOOKOUT_SMTP_URL and LOOKOUT_SMTP_PASSWORD; None if no server is named. Raises InputRejected that names
        the variable and does not show its value."""
        url = environment.get(_SMTP, "").strip()
        password = environment.get("LOOKOUT_SMTP_PASSWORD", "")
        if not url:
            return None
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise InputRejected("is not a valid URL", _SMTP, _SMTP_HINT) from None
        plain = url.isascii() and url.isprintable() and " " not in url
        if not plain or parts.scheme not in ("smtp", "smtps") or not host or parts.path.strip("/") or parts.query:
            raise InputRejected("expected scheme, user, host and port alone", _SMTP, _SMTP_HINT)
        if parts.password is not None:
            raise InputRejected("holds a password", _SMTP, "put it into LOOKOUT_SMTP_PASSWORD")
        user = unquote(parts.username or "") or None
        if (user is None) != (not password):
            named = "no user" if user is None else "a user"
            is_set = "is set" if password else "is not set"
            raise InputRejected(f"{is_set}, and {_SMTP} names {named}", "LOOKOUT_SMTP_PASSWORD", _SMTP_HINT)
        implicit_tls = parts.scheme == "smtps"
        return cls(
            host=host,
            port=port or (465 if implicit_tls else 587),
            implicit_tls=implicit_tls,
            user=user,
            password=password or None,
        )
