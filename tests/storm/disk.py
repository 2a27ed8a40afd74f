"""A small disk of its own for a state: it can be filled, freed, and made read-only. Needs root, as mounts do."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path
from typing import Final, Self

SIZE_MIB: Final = 160
_PIECE: Final = b"\0" * 65536


class Disk:
    """A tmpfs below ``folder`` from ``with`` to its end; where mounts are not allowed, the plain folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounted = False

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        call = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "storm", str(self.folder)]
        self.mounted = subprocess.run(call, check=False, capture_output=True).returncode == 0
        return self

    def __exit__(self, *_: object) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def fill(self) -> None:
        """Leave no room."""
        try:
            with self._filler.open("ab", buffering=0) as file:
                while file.write(_PIECE):
                    pass
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EROFS):
                raise

    def free(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)

    def make_read_only(self) -> None:
        """Refuse all writes; nothing may have a file of it open for writing."""
        subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)

    def make_writable(self) -> None:
        """Take writes again."""
        subprocess.run(["mount", "-o", "remount,rw", str(self.folder)], check=True)

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"
