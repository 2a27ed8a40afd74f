"""The folder of pictures in a storm: carries out planned changes, among them those that try to lead outside."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tests.storm.weather import Act, Gust

REPOSITORY: Final = Path(__file__).parents[2]
PHOTOS: Final = tuple(sorted((REPOSITORY / "examples" / "photos").glob("*.jpg")))
RULES: Final = REPOSITORY / "examples" / "rules"
CANARY: Final = b"canary"


def picture(photo: int, words: bytes) -> bytes:
    """A sample photograph with a comment in it, so that no two have the same bytes."""
    data = PHOTOS[photo].read_bytes()
    return data[:2] + b"\xff\xfe" + (len(words) + 2).to_bytes(2, "big") + words + data[2:]


class Source:
    """The folder ``photos`` below ``root``; ``elsewhere`` beside it holds canaries, and ``aside`` what was replaced."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "photos"
        self._elsewhere = root / "elsewhere"
        self._aside = root / "aside"
        self._incoming = root / "incoming.part"
        self._half: set[str] = set()
        for folder in (self.folder / "north" / "shed", self._elsewhere / "shed"):
            folder.mkdir(parents=True)
        self._outside = self._elsewhere / "outside.jpg"
        self._outside.write_bytes(picture(5, CANARY))

    def apply(self, gust: Gust) -> None:
        """Carry one change out."""
        if gust.act is Act.HALF or (gust.act is Act.REPLACE and gust.key in self._half):
            self._write_half(gust)
        elif gust.act in (Act.PUT, Act.REPLACE):
            self._put(gust)
        elif gust.act is Act.DELETE:
            (self.folder / gust.key).unlink()
        elif gust.act is Act.RENAME:
            self._place(gust.to)
            (self.folder / gust.key).rename(self.folder / gust.to)
        elif gust.act is Act.JUNK:
            self._junk(self.folder / gust.key, gust.to)
        elif gust.act is Act.LINK:
            self._link(gust.key)
        elif gust.act is Act.UNLINK:
            self.unlink(gust.key)

    def unlink(self, name: str) -> None:
        """Put a folder back that was replaced by a link, if it was."""
        if (self.folder / name).is_symlink():
            (self.folder / name).unlink()
            (self._aside / name).rename(self.folder / name)

    def _place(self, key: str) -> Path:
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _put(self, gust: Gust) -> None:
        data = picture(gust.photo, b"storm %d" % gust.number)
        if gust.number % 2:
            self._incoming.write_bytes(data)
            self._incoming.replace(self._place(gust.key))
        else:
            self._place(gust.key).write_bytes(data)

    def _write_half(self, gust: Gust) -> None:
        data = picture(gust.photo, b"storm %d" % gust.number)
        with self._place(gust.key).open("ab" if gust.key in self._half else "wb") as file:
            written = file.tell()
            file.write(data[written:] if written else data[: len(data) // 2])
        self._half.symmetric_difference_update({gust.key})

    def _link(self, name: str) -> None:
        """Another folder with the same names in it, of pictures that nobody may see."""
        self._aside.mkdir(exist_ok=True)
        for path in (self.folder / name).rglob("*.jpg"):
            twin = self._elsewhere / path.relative_to(self.folder / name)
            twin.parent.mkdir(parents=True, exist_ok=True)
            twin.write_bytes(picture(5, CANARY + path.name.encode()))
        (self.folder / name).rename(self._aside / name)
        (self.folder / name).symlink_to(self._elsewhere)

    def _junk(self, path: Path, kind: str) -> None:
        if kind == "text":
            path.with_suffix(".txt").write_text("no picture")
        elif kind == "empty":
            path.touch()
        elif kind == "garbage":
            path.write_bytes(bytes(range(256)) * 40)
        elif kind == "dot":
            path.with_name(f".{path.name}").write_bytes(picture(5, b"hidden"))
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "link":
            path.symlink_to(self._outside)
        elif kind == "huge":
            path.touch()
            os.truncate(path, 64 * 1024 * 1024)
