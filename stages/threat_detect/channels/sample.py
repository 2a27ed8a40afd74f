"""A letter that tries a channel: it says that it is a test, and has a picture of colours."""

from __future__ import annotations

import numpy as np
import simplejpeg  # type: ignore[import-untyped]

from lookout.domain.identity import sha256
from lookout.domain.records import MAIL, Alert, AlertDraft, AlertState, ObjectRef
from lookout.outbox.channel import Letter

_HEIGHT_PX, _WIDTH_PX = 180, 320


def sample_letter(channel: str, now_s: float, sender: str, recipient: str) -> Letter:
    """Return the letter. Its id follows from the time, so each is a new one."""
    picture = _picture()
    id_ = sha256(f"{channel} {now_s!r}".encode())
    key = f"test_{int(now_s)}.jpg"
    draft = AlertDraft(
        user="test",
        rule="test of this channel",
        picture_key=key,
        picture_sha256=sha256(picture),
        sender=sender,
        recipient=recipient if channel == MAIL else channel,
        evidence=key,
        detail={
            "device": "test",
            "captured_at_s": float(int(now_s)),
            "timezone": "UTC",
            "seen": [{"label": "test", "score": 1.0, "box": [40, 30, 200, 150]}],
            "objects": 1,
            "picture": {"key": key, "width": _WIDTH_PX, "height": _HEIGHT_PX},
        },
        channel=channel,
    )
    evidence = ObjectRef(bucket="test", key=key, sha256=sha256(picture), size=len(picture))
    alert = Alert(
        id=id_,
        draft=draft,
        evidence=evidence,
        datum_hash="",
        run="",
        code="",
        created_at_s=now_s,
        state=AlertState.PENDING,
    )
    return Letter(id=id_, alerts=(alert,), evidence={id_: picture})


def _picture() -> bytes:
    """Return a JPEG whose colours run from side to side and from top to bottom."""
    picture = np.full((_HEIGHT_PX, _WIDTH_PX, 3), 96, dtype=np.uint8)
    picture[:, :, 0] = np.linspace(0, 255, _WIDTH_PX, dtype=np.uint8)
    picture[:, :, 1] = np.linspace(0, 255, _HEIGHT_PX, dtype=np.uint8)[:, None]
    encoded: bytes = simplejpeg.encode_jpeg(picture, quality=85)
    return encoded
