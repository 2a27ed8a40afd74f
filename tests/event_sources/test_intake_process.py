"""An intake as a process: how it begins and refuses to, how it ends, and that it loads no stage."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine.world import World
from tests.event_sources.intake_kit import TOKEN, Bus, call, event, serving_bus

ROOT = Path(__file__).parents[2]
GIVEN = {
    "LOOKOUT_STORE": "s3+http://127.0.0.1:1",
    "LOOKOUT_STORE_ACCESS_KEY": "user",
    "LOOKOUT_STORE_SECRET_KEY": "the-secret-of-the-store",
    "LOOKOUT_LEDGER": "etcd://127.0.0.1:1",
    "LOOKOUT_INTAKE_TOKEN": "the-token",
    "LOOKOUT_INTAKE_POST_TO": "http://127.0.0.1:1",
    "LOOKOUT_INTAKE_POST_TOKEN": "the-other-token",
    "LOOKOUT_INTAKE_LISTEN": "127.0.0.1:0",
}


@pytest.fixture
def bus() -> Iterator[Bus]:
    with serving_bus() as bus:
        yield bus


@contextmanager
def process(root: Path, bus: Bus, hold_s: float) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "tests.event_sources.intake_process", str(root), bus.url, str(hold_s)]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert started.stdout is not None
        yield started, int(started.stdout.readline())
    finally:
        started.kill()
        started.communicate()


def post(port: int, key: str) -> int:
    return call(port, "POST", "/uploads", json.dumps(event("texts", key)).encode(), TOKEN).status


def wait_until_there(path: Path) -> None:
    end_s = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_answers_what_has_come_and_ends(tmp_path: Path, bus: Bus, number: int) -> None:
    World(tmp_path).put("a/1", "calm")
    with process(tmp_path, bus, 1.0) as (started, port), ThreadPoolExecutor(1) as sender:
        answer = sender.submit(post, port, "a/1")
        wait_until_there(tmp_path / "looked")
        began_s = time.monotonic()
        started.send_signal(number)
        assert answer.result(20) == 200
        assert (started.wait(20), started.communicate()[1]) == (0, "")
        assert time.monotonic() - began_s < 5
    with World(tmp_path).ledger() as ledger:
        assert [slot.key for slot in ledger.slots("first") if slot.dirty] == ["a/1"]


def test_what_hangs_does_not_keep_it_from_ending_within_ten_seconds(tmp_path: Path, bus: Bus) -> None:
    World(tmp_path).put("a/1", "calm")
    with process(tmp_path, bus, 600.0) as (started, port), ThreadPoolExecutor(1) as sender:
        answer = sender.submit(post, port, "a/1")
        wait_until_there(tmp_path / "looked")
        began_s = time.monotonic()
        started.send_signal(signal.SIGTERM)
        assert answer.result(20) == 503
        assert started.wait(20) == 0
        assert time.monotonic() - began_s < 10


def test_killed_and_started_again_it_goes_on_where_it_was(tmp_path: Path, bus: Bus) -> None:
    world = World(tmp_path)
    world.put("a/1", "calm")
    bus.status = 503
    with process(tmp_path, bus, 0.0) as (started, port):
        assert post(port, "a/1") == 200
        started.kill()
    bus.status = 200
    with process(tmp_path, bus, 0.0):
        bus.wait_for(lambda: bool(bus.workflows), 20)
    assert [attempt for _, attempt in bus.workflows] == ["1"]


# --- the command -----------------------------------------------------------------------------------------------------


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LOOKOUT_")}
    command = [sys.executable, "-m", "event_sources.intake", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_setting_that_cannot_be_is_told_in_a_line() -> None:
    for change, said in (
        ({"LOOKOUT_STORE": ""}, "LOOKOUT_STORE: is not set"),
        ({"LOOKOUT_INTAKE_SIZE": "0"}, "LOOKOUT_INTAKE_SIZE: expected a whole number"),
        ({"LOOKOUT_INTAKE_LISTEN": "192.0.2.1:8080"}, "LOOKOUT_INTAKE_LISTEN: cannot listen on 192.0.2.1:8080"),
    ):
        done = run(GIVEN | change)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_help_says_where_the_settings_are() -> None:
    done = run({}, "--help")
    assert done.returncode == 0
    assert "docs/intake.md" in done.stdout


def test_it_loads_neither_a_stage_nor_what_one_needs() -> None:
    code = (
        "import sys, event_sources.intake.__main__\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in ('cv2', 'onnxruntime', 'numpy',"
        " 'simplejpeg', 'matplotlib', 'sendgrid', 'pydantic') or name.endswith('.core') and name.startswith('stages')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_intake_without_room_on_stderr_listens_and_ends_with_a_code(number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LOOKOUT_")}
    given = clean | GIVEN | {"LOOKOUT_INTAKE_LISTEN": f"127.0.0.1:{port}", "LOOKOUT_LOG": "debug"}
    command = [sys.executable, "-m", "event_sources.intake"]
    with Path("/dev/full").open("wb") as full, subprocess.Popen(command, cwd=ROOT, env=given, stderr=full) as started:
        try:
            end_s = time.monotonic() + 60
            while not is_open(port):
                assert started.poll() is None
                assert time.monotonic() < end_s
                time.sleep(0.05)
            started.send_signal(number)
            assert started.wait(60) in {0, 75, 130}
        finally:
            started.kill()


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True
