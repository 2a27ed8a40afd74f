"""A storm over a state folder, on a small disk of its own where mounts are allowed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from tests.cli.shell import results
from tests.storm import accounting
from tests.storm.disk import Disk
from tests.storm.process import Process
from tests.storm.site import Site
from tests.storm.source import RULES
from tests.storm.weather import Act, Command, Gust, Step

_MINE: Final = ("objects", "outbox", "sent.jsonl", "ledger.sqlite-wal", "ledger.sqlite-shm")


class EmbeddedSite(Site):
    """The state folder ``state`` of the source ``photos``."""

    def __init__(self, root: Path, seed: int, *, whole: bool = False) -> None:
        super().__init__(root, seed, whole=whole)
        self._disk = Disk(root / "state")

    def __enter__(self) -> Self:
        super().__enter__()
        self._open.enter_context(self._disk)
        if not self._disk.mounted:
            self.leave_out("full and read-only disks: nothing can be mounted (not root)")
        return self

    def settings(self, *, fresh: bool = False) -> Mapping[str, str]:
        return {"LOOKOUT_STATE": "fresh" if fresh else "state"}

    def arguments(self, command: Command) -> Sequence[object]:
        if command is Command.SEND:
            return ("alerts", "send")
        return (command.value, "photos", "--rules", RULES, "--workers", "1", "--json")

    def start_step(self, step: Step) -> Process:
        if step.read_only and self._disk.mounted:
            self._disk.make_read_only()
            self.figures.counts["outages"] += 1
        return super().start_step(step)

    def _gusts(self, step: Step) -> Sequence[Gust]:
        again = (Gust(act=Act.WRITABLE, pause_s=step.after_s),) if step.read_only else ()
        return [one for one in (*again, *step.gusts) if self._disk.mounted or one.act not in (Act.FILL, Act.FREE)]

    def apply(self, gust: Gust) -> None:
        if gust.act is Act.FILL:
            self._disk.fill()
        elif gust.act is Act.FREE:
            self._disk.free()
        elif gust.act is Act.WRITABLE:
            if self._disk.mounted:
                self._disk.make_writable()
        else:
            self.source.apply(gust)

    def clear(self) -> None:
        if self._disk.mounted:
            self._disk.make_writable()
            self._disk.free()

    def keep(self) -> None:
        shutil.copytree(self.root / "state", self.root / "kept", symlinks=True)

    def results(self, *, fresh: bool = False) -> dict[str, bytes]:
        return results(self.root / ("fresh" if fresh else "state"))

    def find_leftovers(self) -> list[str]:
        """Names in the state beside results that a fresh state has not, and files for temporary use."""
        self.call("gc", "--grace", "0s", "--older-than", "0s")
        names, wanted = (
            {path.relative_to(folder).as_posix(): "" for path in accounting.files(folder)}
            for folder in (self.root / "state", self.root / "fresh")
        )
        mine = {name: "" for name in names if not name.startswith(_MINE)}
        faults = accounting.find_differences("file", mine, {name: "" for name in wanted if not name.startswith(_MINE)})
        faults += [f"{name} is left" for name in names if name.startswith(("objects/.staging", "objects/.versions"))]
        return faults + [f"{path} is left" for path in accounting.files(self.root / "tmp")]
