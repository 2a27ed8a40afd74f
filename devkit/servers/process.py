"""A server as a child process: started, awaited until it answers, stopped, killed, frozen, and started again.

Shared by etcd, MinIO and NATS. What a server is told, and how one sees that it is ready, is in their own modules.
Secrets go to a child by its environment or by files, never by its arguments, which everybody on the machine can read.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import ClassVar, Final, Self

from devkit.servers.binaries import find_binary
from devkit.servers.calls import call
from devkit.servers.certificates import Certificates
from devkit.servers.ports import LOOPBACK, find_listener, free_port, listens
from lookout.domain.errors import Unavailable

START_DEADLINE_S: Final = 60.0
STOP_DEADLINE_S: Final = 20.0
_POLL_S: Final = 0.02
_TRIES: Final = 5
_TAIL_LINES: Final = 15
_PORT_TAKEN: Final = ("address already in use", "port is already in use")


class PortTaken(Unavailable):
    """A server ended because somebody else has its port."""

    def __init__(self, program: str, port: int, holder: str) -> None:
        super().__init__(program, f"port {port} is taken by {holder}")
        self.args = (program, port, holder)
        self.program, self.port, self.holder = program, port, holder


class Server(ABC):
    """One server with its data, its log and its files in ``folder``.

    Without ``port`` a free one is chosen; it may change until the first start has succeeded, and then stays, as the
    data do. The process ends with this one, however this one ends, unless ``outlives`` is set. One thread at a time
    uses a server, but ``kill``, ``freeze`` and ``thaw`` may come from another.
    """

    program: ClassVar[str]

    def __init__(
        self, folder: Path, *, port: int | None = None, tls: Certificates | None = None, outlives: bool = False
    ) -> None:
        self.folder = folder.absolute()
        self.tls = tls
        self.port = port or free_port()
        self._given_port = port
        self._settled = False
        self._outlives = outlives
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    # ---- what each server says of itself ----

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return the arguments after the program's name; nothing secret among them."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Return the environment beside PATH and HOME; nothing of this process's own environment is passed on."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The server's address as Lookout's settings take it."""

    @property
    @abstractmethod
    def health_path(self) -> str:
        """Return the path that answers 200 as soon as requests are served, and not before."""

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Return the LOOKOUT_* variables by which Lookout uses this server."""

    def prepare(self) -> None:
        """Make what must be there before a start. Here: the folder, for its owner only."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def choose_ports(self) -> None:
        """Choose every port that was not given."""
        self.port = self._given_port or free_port()

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port that it listens on."""
        return (self.port,)

    # ---- what it is ----

    @property
    def endpoint(self) -> str:
        """``127.0.0.1:port``."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def http_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.endpoint}"

    @property
    def log_file(self) -> Path:
        return self.folder / f"{self.program}.log"

    @property
    def pid(self) -> int:
        """The process's id. Raises Unavailable when it does not run."""
        process = self._process
        if process is None or process.poll() is not None:
            raise Unavailable(self.program, "does not run")
        return process.pid

    @property
    def running(self) -> bool:
        """Tell whether the process exists; a frozen one does."""
        return self._process is not None and self._process.poll() is None

    # ---- what can be done with it ----

    def start(self, deadline_s: float = START_DEADLINE_S) -> Self:
        """Start it and return when it serves requests; nothing happens when it runs already.

        Raises Unavailable with the end of its log when it ends instead, or is not ready in time; PortTaken when the
        port is somebody else's, after some tries with other ports if the port was not given.
        """
        for left in reversed(range(_TRIES)):
            try:
                self.launch()
                self.await_ready(deadline_s)
            except PortTaken as exc:
                if self._settled or exc.port == self._given_port or not left:
                    raise
                self.choose_ports()
            except BaseException:
                self.kill()
                raise
            else:
                self._settled = True
                break
        return self

    def launch(self) -> None:
        """Start the process and return at once."""
        if self.running:
            return
        program = find_binary(self.program)
        self.prepare()
        command = [str(program), *self.command()]
        environment = {"PATH": os.defpath, "HOME": str(self.folder), **self.environment()}
        with self.log_file.open("ab") as log:
            self._log_start = log.tell()
            self._process = _spawn(command, environment, self.folder, log.fileno(), tied=not self._outlives)

    def await_ready(self, deadline_s: float = START_DEADLINE_S) -> None:
        """Return when it serves requests. Raises as ``start`` does."""
        process = self._process
        if process is None:
            raise Unavailable(self.program, "was not started")
        end_s = time.monotonic() + deadline_s
        while True:
            if process.poll() is not None:
                self._raise_ended(process.returncode)
            # Another server on the same port may answer while ours is about to end for want of it.
            if listens(process.pid, self.port) and self.is_healthy():
                return
            if time.monotonic() > end_s:
                raise Unavailable(self.program, f"not ready after {deadline_s:g} s; its log ends:\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def is_healthy(self, wait_s: float = 1.0) -> bool:
        """Tell whether it says, within ``wait_s``, that it serves requests."""
        try:
            call(self.http_url + self.health_path, tls=self.tls, wait_s=wait_s)
        except Unavailable:
            return False
        return True

    def stop(self, deadline_s: float = STOP_DEADLINE_S) -> bool:
        """Ask it to end (SIGTERM) and wait; kill it after the deadline. False if it had to be killed."""
        process = self._process
        if process is None or process.poll() is not None:
            return True
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash does, and wait until it is gone."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def restart(self, deadline_s: float = START_DEADLINE_S) -> Self:
        """Stop it and start it again, with its port and its data."""
        self.stop()
        return self.start(deadline_s)

    def freeze(self) -> None:
        """Stop it in its tracks (SIGSTOP): connections stay, nothing is answered. Returns when it stands."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def log_tail(self) -> str:
        """Return the last lines of the log since the last start."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(self._log_start)
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    def _raise_ended(self, status: int) -> None:
        tail = self.log_tail()
        if any(words in tail.lower() for words in _PORT_TAKEN):
            holders = {port: find_listener(port) for port in self.ports}
            port, holder = next(((p, who) for p, who in holders.items() if who), (self.port, None))
            raise PortTaken(self.program, port, str(holder or "somebody who has just left"))
        raise Unavailable(self.program, f"ended with status {status} instead of starting; its log ends:\n{tail}")


@cache
def _spawner(_pid: int) -> ThreadPoolExecutor:
    """One thread that starts all children of this process (a forked one gets its own) and lives as long as it does.

    The kernel's "tell me when my parent dies" means the thread that started a child, not the process.
    """
    return ThreadPoolExecutor(1, thread_name_prefix="servers")


def _spawn(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: int, *, tied: bool
) -> subprocess.Popen[bytes]:
    setpriv = shutil.which("setpriv") if tied else None
    if setpriv is not None:
        # Of util-linux, as each Linux has it; it becomes the server, so the process id is the server's. Without it
        # a server outlives a parent that is killed.
        command = [setpriv, "--pdeathsig", "KILL", "--", *command]
    return _spawner(os.getpid()).submit(_popen, command, environment, folder, log).result()


def _popen(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: int) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C is for whoever started the server, and that one stops it in order.
    return subprocess.Popen(  # noqa: S603 (a program that find_binary found, arguments of our own)
        command,
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
