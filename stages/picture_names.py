"""The one reading of a picture's name: ``[folder/]<device>_<unix seconds>.jpg``.

Shared by the stages and the graph; pure and light, as planning calls it for every key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from lookout.domain.pipeline import UNNAMED

_NAME = re.compile(
    r"(?P<device>[A-Za-z0-9][A-Za-z0-9.-]{0,62})_(?P<stamp>[0-9]{13}|[0-9]{10})\.(?:jpg|jpeg)", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureName:
    """Name of a picture, parsed from its key: ``folder`` is empty or ends with a slash; ``stamp`` is the time as
    written."""

    folder: str
    device: str
    stamp: str

    @property
    def captured_at_s(self) -> float:
        """Unix seconds; 13 digits are milliseconds."""
        return int(self.stamp) / (1000 if len(self.stamp) == 13 else 1)

    @property
    def day(self) -> str:
        """The day in UTC, as ``2025-11-22``."""
        return datetime.fromtimestamp(self.captured_at_s, UTC).date().isoformat()

    @property
    def stem(self) -> str:
        """The key of what is derived from the picture, without its ending: ``[folder/]<device>/<stamp>``."""
        return f"{self.folder}{self.device}/{self.stamp}"


def find_name(key: str) -> PictureName | None:
    """Return the parts of a key, or None if its last part is not a picture's name."""
    folder, slash, name = key.rpartition("/")
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return PictureName(folder=folder + slash, device=found["device"], stamp=found["stamp"])


def group_of(key: str) -> str:
    """Return the group in which a picture is counted: ``<device>/<day in UTC>``, or ``-/-``."""
    name = find_name(key)
    return f"{name.device}/{name.day}" if name else f"{UNNAMED}/{UNNAMED}"
