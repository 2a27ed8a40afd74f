"""Version of the code that made a result: the release and a digest of the sources. Never part of an identity."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from lookout import __version__


@cache
def code_version() -> str:
    """``0.1.0+1a2b3c4d5e6f``: the release, and the digest of every Python file of the engine and the stages."""
    package = Path(__file__).parent
    seen = hashlib.sha256()
    for folder in (package, package.parent / "stages"):
        for path in sorted(folder.rglob("*.py")):
            seen.update(f"{path.relative_to(package.parent)}\0".encode())
            seen.update(path.read_bytes())
    return f"{__version__}+{seen.hexdigest()[:12]}"
