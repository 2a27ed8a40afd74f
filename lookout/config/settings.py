"""Settings from the environment, read once, by the entry points only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lookout.config.addresses import LedgerAddress, StoreAddress
from lookout.config.channels import NamedChannel, SmtpAddress, named_channels
from lookout.config.operator import Operator
from lookout.domain.errors import InputRejected

DEFAULT_STATE: Final = Path("lookout-state")
PROVIDERS: Final = ("cpu", "cuda", "openvino")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings that come from the environment. The key is not shown by ``repr``."""

    state: Path = DEFAULT_STATE
    log_level: str = "error"
    sendgrid_api_key: str | None = field(default=None, repr=False)
    sendgrid_host: str | None = None
    smtp: SmtpAddress | None = None
    channels: Mapping[str, NamedChannel] = field(default_factory=dict)
    """Channels that rules name, beside mail."""
    operator: Operator | None = None
    """Person or channel that is told of trouble with devices."""
    durable: bool = True
    provider: str = "cpu"
    """The execution provider of models. Worker processes find it in the environment that they inherit."""
    store: StoreAddress | None = None
    ledger: LedgerAddress | None = None
    notify_socket: str | None = None
    """The socket of the service manager that started this process, as a path, or a name after ``@``."""
    watchdog_s: float | None = None
    """The longest silence that it allows."""

    @property
    def mail_service(self) -> str | None:
        """The service by which mail leaves: ``sendgrid`` or ``smtp``; None if mails become files."""
        return "sendgrid" if self.sendgrid_api_key else "smtp" if self.smtp is not None else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read LOOKOUT_STATE, LOOKOUT_LOG, LOOKOUT_DURABLE, LOOKOUT_PROVIDER, LOOKOUT_SENDGRID_HOST, SENDGRID_API_KEY,
        NOTIFY_SOCKET, WATCHDOG_USEC and what ``lookout.config.addresses``, ``.channels`` and ``.operator`` read.

        Raises InputRejected that names the variable.
        """
        level = environment.get("LOOKOUT_LOG", "error").lower()
        if level not in ("debug", "info", "warning", "error"):
            raise InputRejected(f"expected debug, info, warning or error, got {level!r}", "LOOKOUT_LOG")
        durable = environment.get("LOOKOUT_DURABLE", "1")
        if durable not in ("0", "1"):
            raise InputRejected(f"expected 0 or 1, got {durable!r}", "LOOKOUT_DURABLE")
        provider = environment.get("LOOKOUT_PROVIDER") or "cpu"
        if provider not in PROVIDERS:
            raise InputRejected(f"expected {', '.join(PROVIDERS)}, got {provider!r}", "LOOKOUT_PROVIDER")
        key = environment.get("SENDGRID_API_KEY", "").strip()
        if not key.isascii() or not key.isprintable() or " " in key:
            raise InputRejected(
                "has characters that are not allowed in a key", "SENDGRID_API_KEY", "unset it to get .eml files"
            )
        smtp = SmtpAddress.from_environment(environment)
        if key and smtp is not None:
            hint = "unset one of them: mail leaves by one service"
            raise InputRejected("is set beside SENDGRID_API_KEY", "LOOKOUT_SMTP_URL", hint)
        return cls(
            state=Path(environment.get("LOOKOUT_STATE") or DEFAULT_STATE),
            log_level=level,
            sendgrid_api_key=key or None,
            sendgrid_host=environment.get("LOOKOUT_SENDGRID_HOST") or None,
            smtp=smtp,
            channels=named_channels(environment),
            operator=Operator.from_environment(environment),
            durable=durable == "1",
            provider=provider,
            store=StoreAddress.from_environment(environment),
            ledger=LedgerAddress.from_environment(environment),
            notify_socket=environment.get("NOTIFY_SOCKET") or None,
            watchdog_s=_watchdog_s(environment.get("WATCHDOG_USEC", "")),
        )


def _watchdog_s(text: str) -> float | None:
    if text and not (text.isascii() and text.isdecimal() and int(text)):
        raise InputRejected(f"expected microseconds, got {text!r}", "WATCHDOG_USEC")
    return int(text) / 1e6 if text else None
