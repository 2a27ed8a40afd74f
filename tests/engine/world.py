"""A small world for tests of the engine: a source, a state, and a toy pipeline that runs in this process.

Here all of it lies in folders. ``tests/services/world.py`` puts the same on servers, and the tests that only use what
both have run there too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Protocol, TypeVar

from devkit.toy_pipeline import toy_pipeline
from lookout.domain.errors import InputRejected
from lookout.domain.pipeline import Pipeline
from lookout.domain.records import MAIL, AlertState, State
from lookout.execution.executor import InlineWorkers, Workers
from lookout.ledger.port import Delivered, Ledger
from lookout.ledger.sqlite import SqliteLedger
from lookout.object_store.folder.store import FolderStore
from lookout.object_store.port import ObjectStore
from lookout.object_store.routing import Routes
from lookout.outbox.channel import Letter, Request
from lookout.outbox.departure import Departure
from lookout.outbox.factory import OutboxFactory
from lookout.runs.runner import Order, Ran, Runner
from lookout.sources.folder import FolderSource
from lookout.sources.merge import Bucket

Test = TypeVar("Test", bound=Callable[..., None])


def folder_only(test: Test) -> Test:
    """Marks a test that is about folders: unmounted ones, single files."""
    test.folder_only = True  # type: ignore[attr-defined]
    return test


def shared_tests(module: ModuleType) -> dict[str, object]:
    """The tests and fixtures of a module that mean something without a folder, by name: to be run with another
    ``world``."""
    return {
        name: thing
        for name, thing in vars(module).items()
        if (name.startswith("test_") and not hasattr(thing, "folder_only")) or name in getattr(module, "FIXTURES", ())
    }


class Text(Protocol):
    """A text in the source, as ``put`` gives it."""

    def unlink(self) -> None:
        """Delete it."""


@dataclass
class Postbox:
    """A channel that keeps what it is handed, in a file too, so that what a killed process sent is known."""

    log: Path
    name: str = "postbox"
    letters: list[Letter] = field(default_factory=list)
    answers: list[Delivered] = field(default_factory=list)

    def begin(self, letter: Letter) -> Request:
        return Posting(self, letter)

    def take(self, letter: Letter) -> Delivered:
        self.letters.append(letter)
        with self.log.open("a") as file:
            file.write(json.dumps([[alert.id for alert in letter.alerts], letter.resend]) + "\n")
        if self.answers:
            return self.answers.pop(0)
        return Delivered(state=AlertState.SENT, message_id=f"m{len(self.letters)}")

    def sent(self) -> list[tuple[tuple[str, ...], bool]]:
        """All letters ever handed over: their alert ids, and whether they said to be a repeat."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(tuple(ids), resend) for ids, resend in map(json.loads, lines)]


@dataclass(frozen=True)
class Posting:
    """A letter on its way to a ``Postbox``."""

    postbox: Postbox
    letter: Letter

    def send(self, now_s: float, departure: Departure) -> Delivered:
        return self.postbox.take(self.letter)

    def abort(self) -> None:
        """Nothing to do: nobody waits for this."""

    def close(self) -> None:
        """Nothing to give back."""


@dataclass
class World:
    """One source and one state. ``run`` opens everything anew, as a new process would."""

    root: Path
    pipeline: Pipeline = field(default_factory=toy_pipeline)
    now_s: float = 1_700_000_000.0
    many: ClassVar[int] = 1500
    """How many texts are many here."""

    def __post_init__(self) -> None:
        self.postbox = Postbox(self.root / "letters")
        self.postboxes: dict[str, Postbox] = {}
        """Those of channels that are not mail."""
        self.begin()

    def begin(self) -> None:
        """Make what must be there before the first text."""
        self.source.mkdir(parents=True, exist_ok=True)
        (self.root / "state").mkdir(exist_ok=True)

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def objects(self) -> Path:
        return self.root / "state" / "objects"

    def put(self, key: str, text: str) -> Text:
        """Put a text into the source."""
        path = self.source / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def open_ledger(self) -> Ledger:
        return SqliteLedger(self.root / "state" / "ledger.sqlite", clock=self.clock)

    def clock(self) -> float:
        self.now_s += 0.001
        return self.now_s

    def open_store(self) -> ObjectStore:
        return Routes({self.pipeline.inputs: FolderSource()}, FolderStore(self.objects, durable=False))

    def open_bucket(self, store: ObjectStore) -> Bucket | None:
        """The bucket of texts, where the source is one."""
        return None

    def order(self, *files: Path, **more: object) -> Order:
        """To work on the source, or on these files."""
        return Order(sources=files or (self.source,), **more)  # type: ignore[arg-type]

    def find_channel(self, name: str) -> Postbox:
        """The postbox of a channel. Raises InputRejected for one that is not set up."""
        if name != MAIL and name not in self.postboxes:
            raise InputRejected(f"nothing is set for the channel {name}", "LOOKOUT_CHANNEL_HOME_URL", "set it")
        return self.postboxes.get(name, self.postbox)

    @contextmanager
    def runner(self, workers: Workers | None = None, max_letters: int = 20) -> Iterator[Runner]:
        ledger = self.open_ledger()
        store = self.open_store()
        try:
            yield Runner(
                pipeline=self.pipeline,
                ledger=ledger,
                open_ledger=self.open_ledger,
                store=store,
                workers=workers or InlineWorkers(store),
                outboxes=OutboxFactory(
                    store=store,
                    channel=self.find_channel,
                    clock=self.clock,
                    max_letters=max_letters,
                ),
                code="test",
                bucket=self.open_bucket(store),
                clock=self.clock,
            )
        finally:
            ledger.close()

    def run(self, *files: Path, workers: Workers | None = None, max_letters: int = 20, **order: object) -> Ran:
        with self.runner(workers, max_letters) as runner:
            return runner.run(self.order(*files, **order))

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        ledger = self.open_ledger()
        try:
            yield ledger
        finally:
            ledger.close()

    def results(self) -> dict[str, bytes]:
        """Every visible object by its path below the objects folder."""
        return {
            path.relative_to(self.objects).as_posix(): path.read_bytes()
            for path in sorted(self.objects.rglob("*"))
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(self.objects).parts)
        }

    def lose(self, path: str) -> None:
        """Have a visible object vanish, as when somebody deletes it by hand or a disk loses it."""
        (self.objects / path).unlink()

    def states(self) -> dict[str, dict[str, int]]:
        with self.ledger() as ledger:
            return {
                stage: live
                for stage, states in ledger.count_slots().items()
                if (live := {state.value: n for state, n in states.items() if n and state is not State.RETRACTED})
            }

    def live(self) -> dict[tuple[str, str], str | None]:
        """The live view: slot -> datum hash."""
        with self.ledger() as ledger:
            return {(slot.stage, slot.key): slot.hash for slot in ledger.slots() if slot.state is not State.RETRACTED}


def words(world: World, **files: str) -> dict[str, Path]:
    """References for a run: a folder of word files, by their stem."""
    folder = world.root / "words"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return {"words": folder}
