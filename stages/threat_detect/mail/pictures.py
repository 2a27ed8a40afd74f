"""Pictures of a letter: those that are shown, each once, small enough for a message, and encoded anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import simplejpeg  # type: ignore[import-untyped]

from lookout.domain.errors import InputRejected
from lookout.domain.records import Alert
from lookout.outbox.channel import Letter
from stages.threat_detect.mail.alert_text import Sighting, sighting

DIGEST_PICTURES: Final = 6
PICTURES_MAX_BYTES: Final = 8 * 1024 * 1024
"""Of all pictures of a mail: base64 adds a third, and mail servers commonly take 10 to 25 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inline:
    """A JPEG that the HTML shows by ``cid:<content_id>``."""

    content_id: str
    name: str
    data: bytes


def in_order(letter: Letter) -> list[Alert]:
    """Return the alerts of a letter in the order in which their pictures were taken."""
    return sorted(letter.alerts, key=lambda alert: (_captured_at_s(alert), alert.id))


def choose_pictures(letter: Letter, max_width_px: int, room_bytes: int = PICTURES_MAX_BYTES) -> dict[str, Inline]:
    """Return the pictures to show by alert id: one per evidence, as several alerts may be of the same picture. All
    together have at most ``room_bytes``."""
    found: dict[str, Inline] = {}
    shown: dict[str, Inline] = {}
    for alert in in_order(letter):
        data = letter.evidence.get(alert.id)
        if data is None or len(found) >= DIGEST_PICTURES or alert.evidence.sha256 in shown:
            continue
        small = _fit_jpeg(data, max_width_px)
        if small is None or len(small) > room_bytes:
            continue
        room_bytes -= len(small)
        number = len(found) + 1
        name = f"{_file_name(sighting(alert))}.jpg"
        found[alert.id] = Inline(content_id=f"picture{number}.{alert.id[:16]}@lookout", name=name, data=small)
        shown[alert.evidence.sha256] = found[alert.id]
    return found


def _fit_jpeg(data: bytes, max_width_px: int) -> bytes | None:
    """Return the JPEG, shrunk if it is wider; None if it is none."""
    try:
        width_px = simplejpeg.decode_jpeg_header(data)[1]
        if width_px <= max_width_px:
            return data
        from stages.imaging.annotate import (  # OpenCV: half a second that only large pictures pay
            decode_bgr,
            encode_jpeg,
            fit,
        )

        return encode_jpeg(fit(decode_bgr(data), max_width_px))
    except (ValueError, InputRejected):
        return None


def _file_name(it: Sighting) -> str:
    text = f"{it.device}-{it.utc}".removesuffix(" UTC")
    return "".join(char if char.isascii() and char.isalnum() else "-" for char in text).strip("-") or "picture"


def _captured_at_s(alert: Alert) -> float:
    value = alert.draft.detail.get("captured_at_s")
    return float(value) if isinstance(value, (int, float)) else alert.created_at_s
