"""Site with sample photographs, its rules and one state, on which the real pipeline runs in this process."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lookout.config.settings import Settings
from lookout.domain.pipeline import Pipeline
from lookout.domain.records import Record, State
from lookout.execution.executor import InlineWorkers
from lookout.ledger.port import Ledger
from lookout.ledger.sqlite import SqliteLedger
from lookout.object_store.folder.store import FolderStore
from lookout.object_store.routing import Routes
from lookout.outbox.factory import OutboxFactory
from lookout.runs.runner import Order, Runner
from lookout.sources.folder import FolderSource
from stages.installation import INSTALLATION

ROOT = Path(__file__).parents[2]
PERSON, CAT, CUP, CUT = (
    "porch_1763798400.jpg",
    "yard_1763798460.jpg",
    "kitchen_1763798520.jpg",
    "gate_1763798760.jpg",
)
PHOTOS = (PERSON, CAT, CUP, CUT)
"""A threat to each of two recipients of rules, a picture without a threat, and one of which half is put there."""
NOW_S = 1_764_000_000.0

Done = dict[str, int]


def rule(device: str, label: str, min_score: float = 0.5) -> str:
    """The text of a rule file with one rule for the pictures of a device."""
    made = {
        "name": f"{label} at {device}",
        "user": "home@example.com",
        "devices": [device],
        "classes": [label],
        "min_score": min_score,
        "from": "lookout@example.com",
        "to": ["home@example.com"],
        "timezone": "Europe/Vienna",
    }
    return json.dumps({"version": 1, "rules": [made]})


@dataclass
class Site:
    """A folder of photographs, a folder of rules and a state. ``run`` opens everything anew, as a new process would."""

    root: Path
    pipeline: Pipeline = field(default_factory=lambda: INSTALLATION.pipeline)
    now_s: float = NOW_S
    model: Path = ROOT / "models" / "ssdlite_mobilenet_v2_coco.onnx"

    def put(self, *names: str) -> None:
        """Put sample photographs into the source."""
        (self.root / "photos").mkdir(parents=True, exist_ok=True)
        for name in names:
            data = (ROOT / "examples" / "photos" / name).read_bytes()
            (self.root / "photos" / name).write_bytes(data[: len(data) // 2] if name == CUT else data)

    def put_rule(self, name: str, text: str) -> None:
        """Put a rule file into the folder of rules."""
        (self.root / "rules").mkdir(parents=True, exist_ok=True)
        (self.root / "rules" / f"{name}.json").write_text(text)

    def put_as(self, name: str, place: str) -> None:
        """Put a sample photograph into the source under another path."""
        path = self.root / "photos" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "examples" / "photos" / name, path)

    def put_devices(self, document: object) -> None:
        """Put the devices file."""
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "devices.json").write_text(json.dumps(document))

    def begin(self, *names: str) -> None:
        """Put the photographs and the rules that the tests begin with."""
        self.put(*names)
        self.put_rule("porch", rule("porch", "person"))
        self.put_rule("yard", rule("yard", "cat"))

    def clock(self) -> float:
        self.now_s += 0.001
        return self.now_s

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        (self.root / "state").mkdir(parents=True, exist_ok=True)
        ledger = SqliteLedger(self.root / "state" / "ledger.sqlite", clock=self.clock)
        try:
            yield ledger
        finally:
            ledger.close()

    def run(self) -> Done:
        """Take the photographs through the pipeline; gives how many datums each stage worked on or retracted."""
        report = self._run()
        assert not report.failed, report.failed
        return dict(report.success + report.retracted)

    def _run(self):
        with self.ledger() as ledger:
            objects = FolderStore(self.root / "state" / "objects", durable=False)
            store = Routes({self.pipeline.inputs: FolderSource()}, objects)
            runner = Runner(
                pipeline=self.pipeline,
                ledger=ledger,
                open_ledger=lambda: SqliteLedger(self.root / "state" / "ledger.sqlite", clock=self.clock),
                store=store,
                workers=InlineWorkers(store),
                outboxes=OutboxFactory(
                    store=store,
                    channel=lambda name: INSTALLATION.load_channels().open(
                        name, Settings(), self.root / "state" / "outbox"
                    ),
                    clock=self.clock,
                ),
                code="test",
                clock=self.clock,
            )
            given = {"rules": self.root / "rules", "devices": self.root / "devices.json"}
            references = {"model": self.model, **{bucket: path for bucket, path in given.items() if path.exists()}}
            order = Order(sources=(self.root / "photos",), references=references)
            return runner.run(order).engine.report

    # --- what is there afterwards -----------------------------------------------------------------------------------

    def results(self) -> dict[str, bytes]:
        """All visible results by their path."""
        objects = self.root / "state" / "objects"
        return {
            str(path.relative_to(objects)): path.read_bytes()
            for path in sorted(objects.rglob("*"))
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(objects).parts)
        }

    def records(self) -> dict[tuple[str, str], Record]:
        """The live record of each slot that has one."""
        with self.ledger() as ledger:
            return {(slot.stage, slot.key): slot.record for slot in ledger.slots() if slot.record is not None}

    def end(self) -> Mapping[str, object]:
        """All that two ways of working must leave equal."""
        with self.ledger() as ledger:
            live = {
                (slot.stage, slot.key): (slot.state, slot.hash, slot.dirty)
                for slot in ledger.slots()
                if slot.state is not State.RETRACTED
            }
            with ledger.unpublished() as changes:
                unpublished = list(changes)
            alerts = {alert.id: alert.state for alert in ledger.alerts()}
            tallies = ledger.tallies()
        mails = Counter(path.suffix for path in (self.root / "state" / "outbox").glob("*"))
        return {
            "results": self.results(),
            "live": live,
            "unpublished": unpublished,
            "alerts": alerts,
            "tallies": tallies,
            "mails": mails,
        }
