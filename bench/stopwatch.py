"""Runs one command and reports its wall time, peak memory and exit code as JSON; imports as little as it can.

A process starts with the peak memory of the one that forked it, so a large parent would show as a large child: this
small script stands between them. Called as ``python -S stopwatch.py REPORT STDOUT STDERR COMMAND...``.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    report, out, err, *command = sys.argv[1:]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 1, out, flags, 0o644),
        (os.POSIX_SPAWN_OPEN, 2, err, flags, 0o644),
    ]
    start = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    wall_s = time.perf_counter() - start
    said = {
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
        "code": os.waitstatus_to_exitcode(status),
    }
    with open(report, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be its largest import
        json.dump(said, file)


if __name__ == "__main__":
    main()
