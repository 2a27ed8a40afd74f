"""From a file that is closed to its alert arriving at the mail service, while pictures keep coming."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.measure import LOOKOUT, ROOT, Row, Setup, environment_of, load, percentile
from bench.pictures import DAY_S, FIRST_DAY_S, persons
from devkit.fakes.sendgrid_api import Posted, SendGridApi

RATE_HZ: Final = 2.0
WARM_UP: Final = 4
"""Pictures before the measured ones: both workers have opened the model after them."""
PATIENCE_S: Final = 60.0


def measure(setup: Setup) -> list[Row]:
    """Measure ``lookout watch`` as a process, with a fake of SendGrid; each picture is written and closed in the
    watched folder on its time, whatever became of the one before."""
    total = setup.pick(40, 8)
    source = setup.folder / "source"
    source.mkdir()
    pictures = list(persons(WARM_UP + total, FIRST_DAY_S + DAY_S // 2))
    with SendGridApi(key="SG.bench") as api:
        post = _Post(api)
        with _watching(source, setup.folder / "state", api.url) as said:
            post.explain = said
            closed_s: dict[str, float] = {}
            for key, data in pictures[:WARM_UP]:
                closed_s[key] = _drop(source, key, data)
            post.wait_for(closed_s)
            first = post.arrived_s[pictures[0][0]] - closed_s[pictures[0][0]]
            setup.say(f"dropping {total} pictures, {RATE_HZ:g} a second, load average {load()}")
            start_s = time.perf_counter()
            for number, (key, data) in enumerate(pictures[WARM_UP:]):
                time.sleep(max(0.0, start_s + number / RATE_HZ - time.perf_counter()))
                closed_s[key] = _drop(source, key, data)
            post.wait_for(closed_s)
    taken_ms = [1000 * (post.arrived_s[key] - closed_s[key]) for key, _ in pictures[WARM_UP:]]
    return [
        Row(what=f"watch: file closed to alert, p50 of {total}", values=taken_ms, unit="ms", bar=250.0),
        Row(what="watch: the same, p95", values=[percentile(taken_ms, 0.95)], unit="ms"),
        Row(what="watch: the first picture, models not loaded yet", values=[1000 * first], unit="ms"),
    ]


def _drop(folder: Path, key: str, data: bytes) -> float:
    """Write a file as a camera's upload does; says when it was closed."""
    with (folder / key).open("wb") as file:
        file.write(data)
    return time.perf_counter()


class _Post:
    """Notes when the mail about each picture came."""

    def __init__(self, api: SendGridApi) -> None:
        self._api = api
        self.arrived_s: dict[str, float] = {}
        self.explain: list[str] = []
        """What the watch said: shown when mails are missing."""
        self._came = threading.Condition()
        threading.Thread(target=self._serve, name="post", daemon=True).start()

    def _serve(self) -> None:
        number = 0
        while True:
            self._api.arrived.acquire()
            now_s = time.perf_counter()
            key = _picture_of(self._api.posted[number])
            number += 1
            with self._came:
                self.arrived_s.setdefault(key, now_s)
                self._came.notify()

    def wait_for(self, keys: dict[str, float]) -> None:
        """Wait until a mail about each picture came. Raises TimeoutError that names the missing."""
        with self._came:
            if not self._came.wait_for(lambda: keys.keys() <= self.arrived_s.keys(), PATIENCE_S):
                missing = sorted(keys.keys() - self.arrived_s.keys())
                words = "".join(self.explain[-10:])
                raise TimeoutError(f"no mail about {', '.join(missing)} in {PATIENCE_S:g} s; the watch said: {words}")


def _picture_of(posted: Posted) -> str:
    """Return the picture's name in the text of a mail, from the line that begins with ``picture``."""
    if posted.status != 202 or posted.message is None:
        raise RuntimeError(f"expected a mail that is taken with 202, got {posted.status}")
    for line in posted.message["content"][0]["value"].splitlines():
        words = line.split()
        if words[:1] == ["picture"]:
            return str(words[1])
    raise RuntimeError("a mail names no picture")


@contextmanager
def _watching(source: Path, state: Path, url: str) -> Iterator[list[str]]:
    """``lookout watch`` from the moment it says that it watches. Gives what it says, growing."""
    command = [LOOKOUT, "watch", source, "--state", state, "--rules", ROOT / "bench" / "people.json"]
    command += ["--threshold", "0.3", "--max-mails", "1000"]
    environment = environment_of(
        {"SENDGRID_API_KEY": "SG.bench", "LOOKOUT_SENDGRID_HOST": url, "LOOKOUT_LOG": "warning"}
    )
    process = subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment, cwd=ROOT
    )
    said: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        if process.stderr is not None:
            for line in process.stderr:
                said.append(line)
                if line.startswith("watching "):
                    ready.set()
        ready.set()  # it ended: whoever waits looks why

    listener = threading.Thread(target=listen, name="listener", daemon=True)
    listener.start()
    try:
        if not ready.wait(PATIENCE_S) or process.poll() is not None:
            raise RuntimeError(f"lookout watch did not begin: {''.join(said)}")
        yield said
        if process.poll() is not None:
            raise RuntimeError(f"lookout watch ended: {''.join(said)}")
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        listener.join()
