"""Operator of devices: the address or the channel by which trouble with devices is told, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lookout.domain.channel_names import is_channel_name
from lookout.domain.errors import InputRejected
from lookout.domain.records import MAIL

TO: Final = "LOOKOUT_OPERATOR"
FROM: Final = "LOOKOUT_OPERATOR_FROM"


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """Recipient of alerts about devices. ``channel`` is ``mail``, or as in ``webhook:home``; only a mail has addresses,
    of any other channel ``recipient`` is the channel."""

    channel: str
    recipient: str
    sender: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Operator | None:
        """Read LOOKOUT_OPERATOR and LOOKOUT_OPERATOR_FROM; None if nobody is named. Raises InputRejected that names the
        variable."""
        to, sender = environment.get(TO, "").strip(), environment.get(FROM, "").strip()
        if not to:
            return None
        if "@" not in to:
            kind, _, name = to.partition(":")
            if kind not in ("webhook", "apprise") or not is_channel_name(name):
                hint = "name a mail address, or a channel as in webhook:home or apprise:phone"
                raise InputRejected(f"{to!r} is neither a mail address nor a channel", TO, hint)
            return cls(channel=to, recipient=to)
        _check_address(TO, to)
        if not sender:
            raise InputRejected(f"is needed with a mail address in {TO}", FROM, "name the sender of these mails")
        _check_address(FROM, sender)
        return cls(channel=MAIL, recipient=to, sender=sender)


def _check_address(variable: str, text: str) -> None:
    local, _, domain = text.rpartition("@")
    plain = text.isascii() and text.isprintable() and not set(text) & set(" ,;<>\"'()[]\\:")
    if not plain or not local or "@" in local or not domain or len(text) > 254:
        raise InputRejected(f"{text!r} is not a valid mail address", variable, "name one address, without a name")
