"""Kit for tests of open runs: a keeper and the four stages as processes, and an intake that is played by the test."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from devkit.fakes.sendgrid_api import SendGridApi
from event_sources.intake.bucket_pictures import BucketPictures
from lookout.app.deployment import open_ledger
from lookout.config.settings import Settings
from lookout.ledger.batches import LIVE, UNFINISHED, Batch
from lookout.ledger.etcd import EtcdLedger
from lookout.ledger.open_runs import OpenRunLedger, opening
from stages.pipeline import PIPELINE
from tests.cli.shell import LOOKOUT, PHOTOS, RULES, THREAT
from tests.cli.stages_kit import start_stage
from tests.services.cli_kit import STAGES, Site
from tests.services.stage_commands.kit import give, mail

DEADLINE_S: Final = 90.0
KEEPER: Final = "keeper"
TOLD: Final = 2
"""People who are told of a picture of a person."""


def until(ready: Callable[[], bool], deadline_s: float = DEADLINE_S) -> float:
    """Wait until it is so; return the seconds that took."""
    began_s = time.monotonic()
    while not ready():
        assert time.monotonic() < began_s + deadline_s
        time.sleep(0.005)
    return time.monotonic() - began_s


@dataclass
class Floor:
    """One site with its processes, by name, and the mails that they sent."""

    site: Site
    api: SendGridApi
    ledger: OpenRunLedger
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    number: int = 0

    def prepare(self, *, begun: bool) -> None:
        """Bring the model and rules into force, from an empty store."""
        if not begun:
            self.site.begin()
        give(self.site, "rules", "home.json", (RULES / "home.json").read_bytes())
        self.site.lookout("batches", "cut", "--run", "first", "--reconcile", "full")

    # --- processes ------------------------------------------------------------------------------------------------

    def start(self, name: str, run: str = "run", *arguments: str) -> None:
        """Start the keeper or a stage of the run."""
        if name == KEEPER:
            self.processes[name] = subprocess.Popen(
                [LOOKOUT, "keep", "--run", run, "--to", "verdict", "--json", *arguments],
                cwd=self.site.root,
                env=self.site.variables(self.site.be("engine")),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        else:
            mails = name == "threat-detect"
            env = self.site.be(name) | (mail(self.api) if mails else {})
            given = [f"--run={run}", "--follow", *arguments, *(["--max-mails=1000"] if mails else [])]
            self.processes[name] = start_stage(self.site, name, *given, env=env)

    def start_all(self, run: str = "run", linger_s: float = 60.0) -> None:
        for stage in STAGES:
            self.start(stage, run)
        self.start(KEEPER, run, f"--linger={linger_s}")

    def await_open(self, run: str = "run") -> None:
        until(lambda: self.is_open(run))

    def is_open(self, run: str = "run") -> bool:
        view = self.ledger.find_run(run, STAGES)
        return view is not None and view.lease is not None and view.present == set(STAGES)

    def signal(self, name: str, number: int) -> None:
        self.processes[name].send_signal(number)

    def end(self, name: str, within_s: float = 60.0) -> tuple[int, str, str]:
        """Wait for a process; return its exit code and what it said."""
        out, err = self.processes[name].communicate(timeout=within_s)
        assert "Traceback" not in err, err
        return self.processes[name].returncode, out, err

    def kill_all(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)
                process.kill()
            process.communicate()

    # --- the intake -----------------------------------------------------------------------------------------------

    def begin(self, run: str = "run") -> None:
        self.ledger.start_run(opening(run, "1", time.time()))

    def land(self, run: str = "run", data: bytes | None = None) -> str:
        """A picture lands, is entered, and assigned to the run; returns its key."""
        key = f"porch_{1763800000 + self.number}.jpg"
        self.number += 1
        give(self.site, "images", key, (PHOTOS / THREAT).read_bytes() if data is None else data)
        self.enter(key)
        self.assign(run, key)
        return key

    def enter(self, key: str) -> None:
        seen = BucketPictures(self.site.store, PIPELINE.inputs).observe(key, time.time())
        self.ledger.observe([seen], [stage.name for stage in PIPELINE.readers(PIPELINE.inputs)])

    def assign(self, run: str, *keys: str) -> None:
        self.number += 1
        batch = Batch(id=f"b{self.number:05}", kind=LIVE, keys=keys, run=run, created_at_s=time.time())
        assert self.ledger.assign_batch(batch) is not None

    def mails(self) -> int:
        return sum(one.status == 202 for one in self.api.posted)

    def await_mails(self, number: int, deadline_s: float = DEADLINE_S) -> float:
        return until(lambda: self.mails() >= number, deadline_s)

    def timeline(self, key: str) -> str:
        """Tell when the stages worked on a picture, after it was known, and when the last mail about it had left."""
        began_s = self.ledger.find_inputs("images", [key])[key].observed_at_s
        parts = []
        for stage in STAGES[:3]:
            record = self.ledger.find_slots(stage, [key])[key].record
            assert record is not None
            parts.append(f"{stage} {record.started_at_s - began_s:.3f} to {record.finished_at_s - began_s:.3f}")
        left = [one.settled_at_s or 0.0 for one in self.ledger.alerts() if one.draft.picture_key == key]
        return f"seconds after {key} was known: {', '.join(parts)}, mails left {max(left, default=0.0) - began_s:.3f}"

    def unfinished(self) -> list[Batch]:
        return list(self.ledger.batches(states=UNFINISHED))


def open_floor(site: Site, stack: ExitStack, *, begun: bool = False) -> Floor:
    """Open a site that is new; with ``begun`` one that ``init`` has made."""
    settings = Settings.from_environment(site.environment)
    ledger = open_ledger(settings, settings.state)
    assert isinstance(ledger, EtcdLedger)
    stack.callback(ledger.close)
    floor = Floor(site, stack.enter_context(SendGridApi()), ledger)
    stack.callback(floor.kill_all)
    floor.prepare(begun=begun)
    return floor
