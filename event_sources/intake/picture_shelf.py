"""Store of uploaded pictures: each under a key of its own, and never one in the place of another.

A PUT is made on the condition that nothing is under the key, which the server checks, so that two intakes at once are
safe too. A repeat of the same bytes finds them there. Knows no HTTP and no token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from event_sources.intake.captures import Capture
from lookout.domain.identity import sha256

if TYPE_CHECKING:
    from lookout.object_store.minio import MinioStore

_LOOKS: Final = 3


class KeyTaken(Exception):
    """Every key that the picture may have is another picture's."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A stored picture; ``is_new`` is false for bytes that were there already."""

    key: str
    is_new: bool


@dataclass(frozen=True)
class PictureShelf:
    """The bucket of pictures, written to. Several threads call at once."""

    store: MinioStore
    bucket: str

    def keep(self, capture: Capture, picture: bytes) -> Kept:
        """Return when the bucket has the picture. Raises KeyTaken when it has others in its place, Unavailable when the
        server does not answer or refuses."""
        digest = sha256(picture)
        key = ""
        for key in capture.candidates():
            for _ in range(_LOOKS):
                if self.store.put_new(self.bucket, key, picture, "image/jpeg", digest):
                    return Kept(key=key, is_new=True)
                there = self.store.digest_of(self.bucket, key)
                if there == digest:
                    return Kept(key=key, is_new=False)
                if there is not None:
                    break  # else it was removed in between, and the key is free
        raise KeyTaken(key)
