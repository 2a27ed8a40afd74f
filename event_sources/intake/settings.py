"""Settings of an intake from the environment, beside the common ones: read once, by the entry point."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from event_sources.intake.dispatcher import Pace
from event_sources.intake.open_runs import RunPace
from lookout.domain.errors import InputRejected
from lookout.ledger.batches import MAX_KEYS

DEFAULT_LISTEN: Final = "127.0.0.1:12100"
DEFAULT_PICTURES_LISTEN: Final = "127.0.0.1:12101"
DEFAULT_SUBJECT: Final = "lookout.hints"

_SERVER: Final = re.compile(r"(?:nats|tls)://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_SUBJECT: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_LISTEN: Final = re.compile(r"(?:([A-Za-z0-9._-]+)|\[([0-9A-Fa-f:.]+)\]):([0-9]{1,5})")


@dataclass(frozen=True, kw_only=True)
class HintSettings:
    """NATS server and subject on which MinIO publishes hints. ``server`` is ``nats://host:port``, or ``tls://`` where
    the certificate is checked against ``ca``, or the system's authorities without it."""

    server: str
    subject: str
    user: str
    password: str = field(repr=False)
    ca: str | None = None

    @property
    def is_tls(self) -> bool:
        return self.server.startswith("tls:")


@dataclass(frozen=True, kw_only=True)
class IntakeSettings:
    """``token`` is what whoever posts events must show, ``post_token`` what is shown to the EventSource at
    ``post_to``. ``senders`` is the file of the devices that may upload by HTTP; None if none may.
    ``pictures`` is where they do. Without ``hints`` there are durable events only."""

    token: str = field(repr=False)
    post_to: str
    post_token: str = field(repr=False)
    host: str
    port: int
    pace: Pace
    senders: Path | None
    pictures: tuple[str, int]
    hints: HintSettings | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> IntakeSettings:
        """Read LOOKOUT_INTAKE_TOKEN, _POST_TO, _POST_TOKEN, _LISTEN, _SIZE, _AGE_S, _MOST, _AGAIN_S, _LINGER_S, _CAP,
        _OPENING_S, _RELEASE, _DEVICE_TOKENS, _PICTURES_LISTEN and _HINTS*. Raises InputRejected that names the
        variable and shows no secret."""
        host, port = _listen(environment, "LOOKOUT_INTAKE_LISTEN", DEFAULT_LISTEN)
        tokens = environment.get("LOOKOUT_INTAKE_DEVICE_TOKENS")
        usual, usual_run = Pace(), RunPace()
        most = int(_number(environment, "LOOKOUT_INTAKE_MOST", usual.most, least=1, most=1000, whole=True))
        linger_s = _number(environment, "LOOKOUT_INTAKE_LINGER_S", 0, least=0, most=3600)
        runs = RunPace(
            linger_s=linger_s,
            cap=int(_number(environment, "LOOKOUT_INTAKE_CAP", usual_run.cap, least=1, most=MAX_KEYS, whole=True)),
            most=most,
            opening_s=_number(environment, "LOOKOUT_INTAKE_OPENING_S", usual_run.opening_s, least=5, most=3600),
            release=environment.get("LOOKOUT_INTAKE_RELEASE", ""),
        )
        return cls(
            token=_token(environment, "LOOKOUT_INTAKE_TOKEN", "what MinIO's webhook target shows"),
            post_to=_url(environment, "LOOKOUT_INTAKE_POST_TO"),
            post_token=_token(environment, "LOOKOUT_INTAKE_POST_TOKEN", "what the EventSource asks for"),
            host=host,
            port=port,
            senders=Path(tokens) if tokens else None,
            pictures=_listen(environment, "LOOKOUT_INTAKE_PICTURES_LISTEN", DEFAULT_PICTURES_LISTEN),
            hints=_hints(environment),
            pace=Pace(
                size=int(_number(environment, "LOOKOUT_INTAKE_SIZE", usual.size, least=1, most=MAX_KEYS, whole=True)),
                age_s=_number(environment, "LOOKOUT_INTAKE_AGE_S", usual.age_s, least=0, most=60),
                most=most,
                again_s=_number(environment, "LOOKOUT_INTAKE_AGAIN_S", usual.again_s, least=1, most=3600),
                runs=runs if linger_s else None,
            ),
        )


def _hints(environment: Mapping[str, str]) -> HintSettings | None:
    name = "LOOKOUT_INTAKE_HINTS"
    server = environment.get(name)
    if not server:
        return None
    if _SERVER.fullmatch(server) is None or not _is_port(urlsplit(server).netloc.rpartition(":")[2]):
        raise InputRejected("expected nats://host:port or tls://host:port", name, "e.g. tls://nats:4222")
    subject = environment.get(f"{name}_SUBJECT") or DEFAULT_SUBJECT
    if _SUBJECT.fullmatch(subject) is None:
        raise InputRejected("expected words of letters, digits, - and _ with points between", f"{name}_SUBJECT")
    return HintSettings(
        server=server,
        subject=subject,
        user=_token(environment, f"{name}_USER", "the user of NATS that may subscribe to hints"),
        password=_token(environment, f"{name}_PASSWORD", "the password of that user"),
        ca=environment.get(f"{name}_CA") or None,
    )


def _listen(environment: Mapping[str, str], name: str, usual: str) -> tuple[str, int]:
    listen = _LISTEN.fullmatch(environment.get(name) or usual)
    if listen is None or not _is_port(listen[3]):
        raise InputRejected("expected host:port", name)
    return listen[1] or listen[2], int(listen[3])


def _is_port(text: str) -> bool:
    return int(text) <= 65535


def _token(environment: Mapping[str, str], name: str, hint: str) -> str:
    token = environment.get(name, "")
    if not token:
        raise InputRejected("is not set", name, hint)
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InputRejected("has characters that are not allowed in a token", name, hint)
    return token


def _url(environment: Mapping[str, str], name: str) -> str:
    url = environment.get(name, "").rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or url != f"{parts.scheme}://{parts.netloc}":
        raise InputRejected(
            "expected http://host:port without a path", name, "e.g. http://uploads-eventsource-svc:12000"
        )
    return url


def _number(
    environment: Mapping[str, str], name: str, usual: float, *, least: float, most: float, whole: bool = False
) -> float:
    text = environment.get(name) or str(usual)
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        kind = "a whole number" if whole else "a number"
        raise InputRejected(f"expected {kind} from {least} to {most}, got {text!r}", name)
    return number
