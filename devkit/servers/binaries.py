"""Paths of the servers' programs. They are built by ``scripts/servers.py``; this module only finds them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from lookout.domain.errors import InputRejected


def find_binary(name: str, environment: Mapping[str, str] | None = None) -> Path:
    """Return the program ``name``: from the folder LOOKOUT_SERVERS, else from the cache of builds, else from PATH.

    The cache is ``bin`` in LOOKOUT_CACHE, by default in ``~/.cache/lookout``. Raises InputRejected that says how to
    get it.
    """
    given = os.environ if environment is None else environment
    folders = [given["LOOKOUT_SERVERS"]] if given.get("LOOKOUT_SERVERS") else []
    cache = Path(given["LOOKOUT_CACHE"]) if given.get("LOOKOUT_CACHE") else Path.home() / ".cache" / "lookout"
    folders += [str(cache / "bin"), *given.get("PATH", os.defpath).split(os.pathsep)]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise InputRejected(
            "no such program here", name, f"run make services, or name the folder with {name} in LOOKOUT_SERVERS"
        )
    return Path(found).absolute()
