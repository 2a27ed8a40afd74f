"""Looking at what a person names as the source, before anything is opened.

A slip of the pen is found here, so that it leaves no state behind and brings no rule, model or threshold into force.
What the pictures in it are worth is not known here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lookout.app.deployment import Program
from lookout.domain.errors import InputRejected, find_lack
from lookout.filesystem.files import is_text, words

_MISSING_HINT: Final = "check the name, and that the disk it is on is mounted; nothing was changed"


def check_sources(program: Program, sources: Sequence[Path], state: Path | None) -> None:
    """Raise InputRejected unless the sources are one folder, or files, outside the state folder; or, where the store is
    on a server and has its own bucket of photographs, none."""
    if program.settings.store is not None:
        if sources:
            what = f"the photographs come from the store {program.settings.store.url}"
            raise InputRejected(what, str(sources[0]), "upload them with lookout upload, then run without SOURCE")
        return
    if not sources:
        raise InputRejected(
            "expected a folder or files", "SOURCE", "or set LOOKOUT_STORE, whose bucket is the source then"
        )
    state = state or program.settings.state
    for source in sources:
        where = str(source)
        if not is_text(where):
            raise InputRejected("its name is not valid UTF-8", repr(where), "rename it, or name a link to it")
        mode = _mode(source)
        if stat.S_ISDIR(mode):
            if len(sources) > 1:
                raise InputRejected("expected one folder, or files only", where, "run it once for each")
        elif not stat.S_ISREG(mode):
            raise InputRejected("is neither a folder nor a file", where)
        if Path(os.path.realpath(source)).is_relative_to(os.path.realpath(state)):
            raise InputRejected(f"is in the state folder {state}", where, "name pictures, not results")


def check_folder(program: Program, folder: Path, state: Path | None) -> None:
    """Raise InputRejected unless the source is one folder outside the state folder, and the store is in that too."""
    check_sources(program, (folder,), state)
    if not folder.is_dir():
        raise InputRejected("expected a folder to watch, got a file", str(folder))


def _mode(source: Path) -> int:
    try:
        return source.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        what = "is a broken link" if source.is_symlink() else "no such file or folder"
        raise InputRejected(what, str(source), _MISSING_HINT) from None
    except OSError as exc:
        raise find_lack(exc) or InputRejected(f"cannot be inspected: {words(exc)}", str(source)) from exc
