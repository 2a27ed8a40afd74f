"""A state's id is in its ledger and beside it: of two processes that make it at once, both have the same."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lookout.app.state_identity import STATE_FILE, STATE_NOTE, bind, check_identity, check_servers
from lookout.domain.errors import Corrupt
from lookout.ledger.sqlite import SqliteLedger
from lookout.object_store.folder.store import FolderStore
from lookout.object_store.port import STATUS_KEY
from stages.pipeline import PIPELINE


class Late(SqliteLedger):
    """A ledger that answers what the state's id is when all have asked."""

    all_have_asked: threading.Barrier
    has_asked = False

    def find_note(self, name: str) -> str | None:
        found = super().find_note(name)
        if name == STATE_NOTE and not self.has_asked:
            self.has_asked = True
            self.all_have_asked.wait(30.0)
        return found


def test_processes_that_begin_a_state_at_once_give_it_one_id(tmp_path: Path) -> None:
    number = 4
    barrier = threading.Barrier(number)
    SqliteLedger(tmp_path / "ledger.sqlite").close()

    def begin() -> None:
        ledger = Late(tmp_path / "ledger.sqlite")
        ledger.all_have_asked = barrier
        bind(tmp_path, ledger)
        known.append((ledger.find_note(STATE_NOTE), (tmp_path / STATE_FILE).read_text()))
        ledger.close()

    known: list[tuple[str | None, str]] = []
    threads = [threading.Thread(target=begin) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert len(known) == number
    assert len({name for pair in known for name in pair}) == 1


def test_a_new_ledger_is_refused_beside_results_but_not_beside_the_status_of_the_page(tmp_path: Path) -> None:
    """On a new cluster the status is written before there is a picture."""
    store, ledger = FolderStore(tmp_path / "objects", durable=False), SqliteLedger(tmp_path / "ledger.sqlite")
    try:
        store.overwrite("plot", STATUS_KEY, b"status", "text/javascript")
        check_servers(PIPELINE, ledger, store)
        store.overwrite("plot", "index.html", b"page", "text/html")
        with pytest.raises(Corrupt, match="results in bucket plot"):
            check_servers(PIPELINE, ledger, store)
    finally:
        ledger.close()


@pytest.mark.parametrize("damage", [b"\x00" * 32, b"\xff\xfe\x82", b"0123", b"<html>"])
def test_a_damaged_id_is_named_with_what_to_do_and_an_empty_one_is_none(tmp_path: Path, damage: bytes) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    try:
        bind(tmp_path, ledger)
        (tmp_path / STATE_FILE).write_bytes(damage)
        with pytest.raises(Corrupt, match=r"state\.id: expected 32 hexadecimal digits") as refused:
            check_identity(tmp_path, ledger)
        assert "Remove state.id" in refused.value.hint
        (tmp_path / STATE_FILE).write_bytes(b"")
        check_identity(tmp_path, ledger)
    finally:
        ledger.close()
