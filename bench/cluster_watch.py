"""Times of changes in the cluster: the events of kubectl's watch, each with the moment at which it came.

Kubernetes keeps times to the second only; an event of the API server comes within milliseconds.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from k8s.kubectl import NAMESPACE, find_kubectl

Thing: TypeAlias = Mapping[str, Any]
_PATIENCE_S: Final = 120.0


@dataclass(kw_only=True)
class Watched:
    """Log of one kind of resource: (moment, resource as it was then), in order."""

    kind: str
    told: list[tuple[float, Thing]] = field(default_factory=list)
    _more: threading.Condition = field(default_factory=threading.Condition)

    def take(self, at_s: float, thing: Thing) -> None:
        with self._more:
            self.told.append((at_s, thing))
            self._more.notify_all()

    def first(self, is_it: Callable[[Thing], bool], what: str) -> tuple[float, Thing]:
        """Return the first moment at which a resource was so, and the resource. Raises RuntimeError when none comes."""

        def find() -> tuple[float, Thing] | None:
            return next(((at_s, thing) for at_s, thing in self.told if is_it(thing)), None)

        with self._more:
            found = self._more.wait_for(find, _PATIENCE_S)
        if found is None:
            raise RuntimeError(f"no {what} within {_PATIENCE_S:.0f} s")
        return found


@contextmanager
def watching(kind: str, *words: str) -> Iterator[Watched]:
    """Resources of this kind from now on, and those that are there."""
    command = [find_kubectl(), f"--namespace={NAMESPACE}", "get", kind, *words]
    command += ["--watch", "--output-watch-events", "--output=json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watched = Watched(kind=kind)
    reader = threading.Thread(target=_read, args=(process, watched), name=f"watch-{kind}", daemon=True)
    reader.start()
    try:
        yield watched
    finally:
        process.terminate()
        process.wait()
        reader.join()


def _read(process: subprocess.Popen[str], watched: Watched) -> None:
    """Each line is one event, with the resource as it was then."""
    assert process.stdout is not None
    for line in process.stdout:
        watched.take(time.time(), json.loads(line)["object"])
