"""The node's first process: makes the namespaces that it is started in a machine, and keeps its programs running.

Started by node.py through ``unshare``, as process 1 of its own process, mount, network, host name and IPC namespaces,
with one argument, a JSON file: ``node.Plan``. When it ends, the kernel ends every process of the node, containers too,
and with the last of them go the mounts, links, routes and packet filters that any of them made. Standard library only,
and nothing of this project: it runs by its file's name.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESTART_AFTER_S = 1.0
LOOK_EVERY_S = 0.05
SIGNALS = {signal.SIGCHLD, signal.SIGTERM}


def main(plan_file: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    for command in plan["commands"]:
        subprocess.run(command, check=True, pass_fds=plan["keep_open"])  # noqa: S603 (node.py's own words)
    for file_descriptor in plan["keep_open"]:
        os.close(file_descriptor)
    supervise(plan["programs"])


def supervise(programs: list[dict[str, Any]]) -> None:
    """Start each program when the socket that it waits for is there; start it again when it ended, after a second."""
    running: dict[int, str] = {}
    due_s = {program["name"]: 0.0 for program in programs}
    while True:
        for program in programs:
            name = program["name"]
            if name not in running.values() and time.monotonic() >= due_s[name] and answers(program["after"]):
                running[start(program)] = name
        all_run = len(running) == len(programs)
        got = signal.sigwaitinfo(SIGNALS) if all_run else signal.sigtimedwait(SIGNALS, LOOK_EVERY_S)
        if got is not None and got.si_signo == signal.SIGTERM:
            return
        for pid in reap():
            # Most are no programs of ours: what containers leave behind becomes a child of process 1.
            if pid in running:
                due_s[running.pop(pid)] = time.monotonic() + RESTART_AFTER_S


def start(program: dict[str, Any]) -> int:
    """Start the program; its process's number."""
    log = os.open(program["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
    ]
    try:
        command = program["command"]
        return os.posix_spawn(command[0], command, os.environ, file_actions=actions, setsigmask=[], setsid=True)
    finally:
        os.close(log)


def reap() -> Iterator[int]:
    """Yield the children that have ended."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid


def answers(address: str) -> bool:
    """Tell whether a process listens on the address: ``host:port``, a socket's path, or empty."""
    if not address:
        return True
    host, _, port = address.rpartition(":")
    family, where = (socket.AF_INET, (host, int(port))) if host else (socket.AF_UNIX, address)
    with socket.socket(family) as probe:
        return probe.connect_ex(where) == 0


if __name__ == "__main__":
    main(sys.argv[1])
