"""Put before all else on a process's path: notes which packages it loads, and lets it find only those it may have.

Its children inherit that. ``WATCHED_TO`` is the file for the notes, ``WATCHED_HIDDEN`` names what is not there, as in
an image that does not have it.
"""

import os
import sys


class _Watch:
    """The first to be asked for each module."""

    def __init__(self, notes, hidden):
        self._notes, self._hidden = notes, hidden

    def find_spec(self, name, path=None, target=None):
        if "." not in name:
            if name in self._hidden:
                raise ModuleNotFoundError(f"No module named {name!r}: it is hidden", name=name)
            os.write(self._notes, f"{name}\n".encode())


if "WATCHED_TO" in os.environ:
    sys.meta_path.insert(
        0,
        _Watch(
            os.open(os.environ["WATCHED_TO"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
            frozenset(os.environ["WATCHED_HIDDEN"].split(",")),
        ),
    )
