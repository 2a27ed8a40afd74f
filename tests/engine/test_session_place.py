"""A process that is started in the place of a killed one ends its session; one that lives keeps its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devkit.fakes.memory_kv import MemoryStore, memory_ledger
from lookout.app.session_place import session_in
from lookout.domain.errors import LookoutError
from lookout.domain.records import Mark

HOLD = """
import fcntl, os, sys
place = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(place, fcntl.LOCK_EX)
os.pwrite(place, sys.argv[2].encode(), 0)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("killed", [True, False])
def test_the_session_before_ends_exactly_if_its_process_is_gone(tmp_path: Path, killed: bool) -> None:
    store = MemoryStore()
    before, after = memory_ledger(store=store), memory_ledger(store=store)
    with session_in(after, tmp_path, "validate"):
        (place,) = tmp_path.iterdir()
    before.mark([Mark(stage="s", key="a")])
    with before.session() as dead:
        before.claim("s", dead, 1, 60.0)
        command = [sys.executable, "-c", HOLD, str(place), before.session_token(dead)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            if killed:
                holder.kill()
                holder.wait()
            with session_in(after, tmp_path, "validate") as mine:
                assert len(after.claim("s", mine, 1, 60.0)) == killed
            holder.kill()
    assert bool(place.read_text()) != killed, "who lives keeps its place"
    before.close()
    after.close()


def test_a_place_that_is_a_link_or_cannot_be_made_is_refused(tmp_path: Path) -> None:
    ledger = memory_ledger()
    with session_in(ledger, tmp_path / "state", "validate"):
        (place,) = (tmp_path / "state").iterdir()
    place.unlink()
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LookoutError), session_in(ledger, tmp_path / "state", "validate"):
        pass
    assert not (tmp_path / "elsewhere").exists()
    ledger.close()
