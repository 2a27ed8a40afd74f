"""The real command for tests: a world of a source and a state, and ways to run ``lookout`` on it as a person would."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import resource
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from lookout.cli import cli
from lookout.ledger.sqlite import SqliteLedger
from lookout.object_store.port import STATUS_KEY
from stages.installation import INSTALLATION

LOOKOUT = Path(sys.executable).parent / "lookout"
REPOSITORY = Path(__file__).parents[2]
PHOTOS = REPOSITORY / "examples" / "photos"
RULES = REPOSITORY / "examples" / "rules"
MODELS = REPOSITORY / "models"

THREAT = "porch_1763798400.jpg"
"""A person at the porch, of whom two people are told."""
CALM = "kitchen_1763798520.jpg"
UNNAMED = "IMG_0001.jpg"
CUT = "yard_1763798700.jpg"
NEW = "gate_1763809200.jpg"
"""A person at the gate; not among the pictures that the finished world begins with."""

DEADLINE_S = 90.0
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH, _PR_CAPBSET_DROP = 1, 2, 24


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class World:
    """A source ``photos``, rules and a state ``state`` in one folder, from which the command is run."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def photos(self) -> Path:
        return self.root / "photos"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def put(self, *names: str) -> None:
        self.photos.mkdir(exist_ok=True)
        for name in names:
            shutil.copyfile(PHOTOS / name, self.photos / name)

    def variables(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        base = {"PATH": os.environ["PATH"], "HOME": str(self.root), "LANG": "C.UTF-8", "LOOKOUT_DURABLE": "0"}
        return {**base, **self.environment, **(more or {})}

    def lookout(
        self,
        *arguments: object,
        code: int = 0,
        env: Mapping[str, str] | None = None,
        only_env: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> Done:
        """Run the command to its end; it must end with this code, in time, and never with a traceback."""
        ended = subprocess.run(
            [LOOKOUT, *map(_argument, arguments)],
            cwd=self.root,
            env=self.variables(env) if only_env is None else dict(only_env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE_S,
            preexec_fn=before,
            check=False,
        )
        done = Done(ended.returncode, ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace"))
        assert "Traceback" not in done.err + done.out, done.err
        assert done.code == code, f"expected exit code {code}, got {done.code}\n{done.err}\n{done.out}"
        return done

    def call(self, *arguments: object, code: int = 0) -> Done:
        """Run the command within this process: for help and for options that click refuses, which do no work."""
        variables = {name: None for name in os.environ if name.startswith("LOOKOUT_")} | self.variables()
        with contextlib.chdir(self.root):
            ended = CliRunner().invoke(
                cli, [*map(str, arguments)], prog_name="lookout", obj=INSTALLATION, env=variables
            )
        assert isinstance(ended.exception, SystemExit | None), repr(ended.exception)
        assert ended.exit_code == code, f"expected exit code {code}, got {ended.exit_code}\n{ended.output}"
        return Done(ended.exit_code, ended.stdout, ended.stderr)

    def run(self, *arguments: object, code: int = 0, **options: Any) -> Any:
        """``lookout run photos --state state --json`` with one worker unless told otherwise; gives the JSON."""
        usual = ("run", "photos", "--state", "state", "--json", "--workers", "1")
        return self.lookout(*usual, *arguments, code=code, **options).json

    def refused(self, *arguments: object, code: int = 2, **options: Any) -> str:
        """Run a command that must be refused: one line on stderr that says why, and nothing on stdout. Gives it."""
        done = self.lookout(*arguments, code=code, **options)
        assert done.out == ""
        assert done.err.startswith("lookout: ")
        assert done.err.count("\n") == 1
        return done.err

    def start(self, *arguments: object, command: Path = LOOKOUT) -> Running:
        return Running(self, arguments, command)

    def results(self) -> dict[str, bytes]:
        return results(self.state)

    def datums(self, *arguments: object) -> dict[tuple[str, str], tuple[str, str]]:
        """The live view: (stage, key) -> (state, hash)."""
        done = self.lookout("datums", "list", "--state", "state", "--json", *arguments)
        return {(item["stage"], item["key"]): (item["state"], item["hash"]) for item in done.lines}

    @contextlib.contextmanager
    def ledger(self, *, writing: bool = False) -> Iterator[SqliteLedger]:
        """The state's ledger, opened in this process: for what no command has to prove."""
        with contextlib.closing(SqliteLedger(self.state / "ledger.sqlite", writing=writing)) as ledger:
            yield ledger

    def letters(self) -> list[Path]:
        return sorted((self.state / "outbox").glob("*.eml"))


class Running:
    """A command at work, whose lines on stdout can be waited for. stderr is a terminal."""

    def __init__(self, world: World, arguments: tuple[object, ...], command: Path = LOOKOUT) -> None:
        self._terminal, slave = os.openpty()
        self._process = subprocess.Popen(
            [command, *map(_argument, arguments)],
            cwd=world.root,
            env=world.variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=slave,
        )
        os.close(slave)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.seen: list[str] = []
        self.err = ""

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        os.close(self._terminal)

    def expect(self, **facts: object) -> dict[str, Any]:
        """The next line of JSON with these facts."""
        end_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end_s - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"expected {facts} in time, got {self.seen} and {self.err}") from None
            assert line is not None, f"expected {facts}, got the end of {self.seen} and {self.talk()}"
            self.seen.append(line)
            found: dict[str, Any] = json.loads(line)
            if all(found.get(name) == value for name, value in facts.items()):
                return found

    def expect_talk(self, text: str) -> None:
        """Wait until the text was said on stderr."""
        end_s = time.monotonic() + DEADLINE_S
        while text not in self.err:
            said = self._hear(end_s - time.monotonic())
            assert said, f"expected {text!r} on stderr, got {self.err!r}"

    def kill(self) -> None:
        """As the out-of-memory killer does: the process, none of its workers, without a warning."""
        self._process.kill()
        self._process.wait()

    def stop(self, number: signal.Signals) -> int:
        """Send the signal and wait for the end; gives the exit code."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self._process.wait(DEADLINE_S)
        self._reader.join()
        while (line := self._lines.get()) is not None:
            self.seen.append(line)
        self.talk()
        assert "Traceback" not in self.err, self.err
        return code

    def talk(self) -> str:
        """All that was said on stderr so far."""
        while self._hear(0):
            pass
        return self.err

    def _hear(self, wait_s: float) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], max(0.0, wait_s))
        if not ready:
            return False
        try:
            said = os.read(self._terminal, 65536)
        except OSError:
            return False  # a terminal whose other side is closed ends so
        self.err += said.decode(errors="replace")
        return bool(said)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.decode())
        self._lines.put(None)


def results(state: Path) -> dict[str, bytes]:
    """Every visible object of a state that a record names, by its path."""
    objects = state / "objects"
    paths = (path.relative_to(objects) for path in sorted(objects.rglob("*")) if path.is_file())
    return {path.as_posix(): (objects / path).read_bytes() for path in paths if _is_result(path)}


def _is_result(path: Path) -> bool:
    return path.parts[0][0] != "." and path.name != STATUS_KEY


def but_the_page(found: dict[str, bytes]) -> dict[str, bytes]:
    """The results but those that name datums: a datum that was done again on purpose has another hash."""
    return {path: data for path, data in found.items() if not path.startswith(("plot/data/", "plot/index"))}


def nest(folder: Path) -> None:
    """Make folders below this one that no path reaches."""
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=fd)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)


def obey_modes() -> None:
    """In a child before it begins: root gives up its right to pass over the modes of files."""
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def modes_are_obeyed(folder: Path) -> bool:
    """Tell whether a child after ``obey_modes`` cannot write into a read-only folder here."""
    probe = folder / "probe"
    probe.mkdir(mode=0o555)
    said = subprocess.run(
        [sys.executable, "-c", "import os, sys; sys.exit(os.access(sys.argv[1], os.W_OK))", probe],
        preexec_fn=obey_modes,
        check=False,
    )
    probe.rmdir()
    return said.returncode == 0


def small_files(limit_bytes: int) -> Callable[[], None]:
    """In a child before it begins: no file can grow beyond the limit, as on a disk that is full."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return limit


def _argument(value: object) -> str | bytes:
    return value if isinstance(value, bytes) else str(value)
