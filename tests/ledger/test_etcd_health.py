"""Members of an etcd are told apart by what they answer: an election under way is waited for, and no leader is bad."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lookout.ledger.etcd import Address
from lookout.ledger.etcd.health import Member, look

LEADS = (1, "")
LEADERLESS = (0, "RAFT NO LEADER")
LOST_IT_NOW = (1, "RAFT NO LEADER")
CHANGED_IT_NOW = (1, "QGET ERROR:etcdserver: leader changed")

Said = tuple[int, str]
"""Sight of a leader, by its metrics, and the reason that its ``/health`` gives for not being well."""


def answers(said: Sequence[Said]) -> type[BaseHTTPRequestHandler]:
    """A member that says one after the other, a look each, and the last one for ever."""
    left = list(said)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/version":
                self.server.now = left.pop(0) if len(left) > 1 else left[0]  # type: ignore[attr-defined]
            leader, reason = self.server.now  # type: ignore[attr-defined]
            body = {
                "/version": json.dumps({"etcdserver": "3.5.35"}),
                "/metrics": f"etcd_server_has_leader {leader}\netcd_server_is_leader {leader}\n",
                "/health": json.dumps({"health": str(not reason).lower(), "reason": reason}),
            }[self.path]
            self.send_response(503 if reason and self.path == "/health" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    return Handler


@pytest.fixture
def member() -> Iterator[Callable[..., str]]:
    """Starts members of an etcd that say what they are told to; gives their endpoints."""
    with ExitStack() as stack:

        def start(*said: Said) -> str:
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), answers(said)))
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.shutdown)
            return f"127.0.0.1:{server.server_port}"

        yield start


def look_at(*endpoints: str, election_s: float = 60.0) -> list[Member]:
    return look(Address(endpoints=endpoints), election_s=election_s)


def test_a_member_that_is_well_is_looked_at_once(member: Callable[..., str]) -> None:
    (found,) = look_at(member(LEADS, LEADERLESS))
    assert (found.error, found.version, found.leads, found.electing) == (None, "3.5.35", True, False)


@pytest.mark.parametrize("at_first", [LEADERLESS, LOST_IT_NOW, CHANGED_IT_NOW])
def test_an_election_is_waited_for_and_told(member: Callable[..., str], at_first: Said) -> None:
    well, electing = look_at(member(LEADS, LEADERLESS), member(at_first, at_first, LEADS))
    assert (well.error, well.electing) == (None, False)
    assert (electing.error, electing.leads, electing.electing) == (None, True, True)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (LEADERLESS, "sees no leader: too few members work together"),
        (LOST_IT_NOW, "sees no leader: too few members work together"),
        (CHANGED_IT_NOW, "cannot be read: QGET ERROR:etcdserver: leader changed"),
    ],
)
def test_no_leader_for_long_is_an_error(member: Callable[..., str], said: Said, error: str) -> None:
    assert [found.error for found in look_at(member(said), member(LEADS), election_s=0.5)] == [error, None]


def test_an_alarm_is_no_election(member: Callable[..., str]) -> None:
    (found,) = look_at(member((1, "ALARM NOSPACE"), LEADS))
    assert (found.error, found.alarms, found.electing) == (None, ("NOSPACE",), False)


def test_who_does_not_answer_is_not_waited_for(member: Callable[..., str]) -> None:
    gone, well = look_at("127.0.0.1:1", member(LEADS))
    assert "does not answer" in (gone.error or "")
    assert (gone.electing, well.error) == (False, None)
