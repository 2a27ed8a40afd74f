"""Names of pictures for the stages: by the form ``[folder/]<device>_<unix seconds>.jpg``, or as validate says.

Shared by the stages and the graph; pure and light, as planning calls it for every key.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final

from lookout.domain.pipeline import UNNAMED
from lookout.domain.records import JsonObject, Work

ROLE: Final = "name"
"""Role of the document in which validate says the name of a picture, where another form than the built-in one does."""
_NAME: Final = re.compile(
    r"(?P<device>(?!\s)[^/\x00-\x1f\x7f]{1,63}(?<!\s))_(?P<stamp>[0-9]{13}|[0-9]{10})\.(?P<ending>jpg|jpeg)",
    re.ASCII | re.IGNORECASE,
)
_ENDING: Final = "jpg"
_EPOCH: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureName:
    """Name of a picture.

    ``captured_at_s`` is in Unix seconds. ``stem`` is the key of what is derived from the picture, without its ending:
    it begins with the device's folder. ``subject`` identifies the picture beside its bytes, wherever it lies: device
    and time as the name says them, and number.
    """

    device: str
    captured_at_s: float
    stem: str
    subject: str

    @property
    def day(self) -> str:
        """The day in UTC, as ``2025-11-22``."""
        return datetime.fromtimestamp(self.captured_at_s, UTC).date().isoformat()

    @property
    def group(self) -> str:
        """The group in which the picture is counted: ``<device>/<day in UTC>``."""
        return f"{self.device}/{self.day}"


def find_name(key: str) -> PictureName | None:
    """Return the name that a key has in the built-in form, or None."""
    folder, slash, name = key.rpartition("/")
    found = _match(name)
    if found is None:
        return None
    device, stamp = found["device"], found["stamp"]
    at_s = int(stamp) / (1000 if len(stamp) == 13 else 1)
    # Two names that differ in their ending only are two pictures; the usual one keeps the plain stem.
    more = "" if found["ending"] == _ENDING else f"-{short_digest(key)}"
    return PictureName(
        device=device,
        captured_at_s=at_s,
        stem=f"{folder}{slash}{device}/{stamp}{more}",
        subject=subject_of(device, datetime.fromtimestamp(at_s, UTC), None),
    )


def _match(name: str) -> re.Match[str] | None:
    return _NAME.fullmatch(name if name.isascii() else unicodedata.normalize("NFC", name))


def group_of(key: str) -> str:
    """Return the group of a picture that no stage has read yet: by the built-in form, or ``-/-``. Planning asks it for
    every picture."""
    found = _match(key.rpartition("/")[2])
    return f"{UNNAMED}/{UNNAMED}" if found is None else f"{found['device']}/{_day(int(found['stamp'][:10]) // 86400)}"


@lru_cache(maxsize=4096)
def _day(number: int) -> str:
    return date.fromordinal(_EPOCH + number).isoformat()


def subject_of_key(key: str) -> str | None:
    """Return the subject of a picture by its key, in the built-in form."""
    name = find_name(key)
    return None if name is None else name.subject


def name_of(work: Work) -> PictureName | None:
    """Return the name of the picture that a stage works on: as validate's document says it, or by its key."""
    document = work.inputs.get(ROLE)
    if document is None:
        return find_name(work.key)
    said = json.loads(document.data)
    return PictureName(
        device=said["device"], captured_at_s=said["captured_at_s"], stem=said["stem"], subject=said["subject"]
    )


def as_document(name: PictureName, more: JsonObject) -> bytes:
    """Return the document that ``name_of`` reads, with more facts for people."""
    said = {
        **more,
        "device": name.device,
        "captured_at_s": name.captured_at_s,
        "stem": name.stem,
        "subject": name.subject,
    }
    return (json.dumps(said, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def subject_of(said: str, written: datetime, seq: int | None) -> str:
    """Return the identity of a picture beside its bytes: the device that its name says, the time as written (in UTC if
    it is an instant), and the number. Zones, clocks and names of devices change none of them."""
    at = written if written.tzinfo is None else written.astimezone(UTC)
    return json.dumps([said, at.isoformat(), seq], ensure_ascii=True)


def short_digest(key: str) -> str:
    """Return the first 8 hex digits of a key's sha256, to tell derived files of different keys apart."""
    return sha256(key.encode(errors="surrogatepass")).hexdigest()[:8]
