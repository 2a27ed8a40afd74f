"""Work of another process on batches in etcd, and restoring.

``python -m tests.services.etcd_batch_worker ENDPOINT PREFIX TTL_S COMMAND`` says ``ready`` on its standard output when
what the test waits for has happened.
"""

import signal
import sys

from lookout.domain.errors import ClaimLost
from lookout.domain.records import Mark
from lookout.ledger.batches import Batch
from lookout.ledger.etcd import Address, EtcdLedger
from lookout.ledger.maintenance import Note
from lookout.ledger.port import RunRecord


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def hold(ledger):
    """Take a batch, claim one of its slots, and wait to be killed."""
    with ledger.session() as owner:
        taken = ledger.take_batch(owner, 3600.0)
        claims = ledger.claim("s", owner, 1, 3600.0)
        say("ready", taken.id, *[claim.key for claim in claims])
        signal.pause()


def sleep(ledger):
    """Take a batch, wait to be told, end it late, and wait to be killed."""
    with ledger.session() as owner:
        taken = ledger.take_batch(owner, 3600.0)
        say("ready", taken.id)
        sys.stdin.readline()
        say(*ledger.extend_batches([taken], 60.0))
        for write in (ledger.end_batch, ledger.release_batch):
            try:
                write(taken)
                say("written")
            except ClaimLost:
                say("lost")
        signal.pause()


def pull(ledger):
    """Take and end batches of the run until none is left, then try to end the run."""
    say("ready")
    sys.stdin.readline()
    with ledger.session() as owner:
        while (taken := ledger.take_batch(owner, 60.0, run="r")) is not None:
            say(taken.id)
            ledger.end_batch(taken)
    say("closed" if ledger.close_run("r", "success", 1.0, {}) else "open")


def cut(ledger):
    """Add the same keys as others do, in batches of another size."""
    say("ready")
    name, size = sys.stdin.readline().split()
    for start in range(0, 300, int(size)):
        keys = [f"{n:03}" for n in range(start, min(300, start + int(size)))]
        ledger.add_batches([Batch(id=f"{name}{start:03}", kind="x", keys=tuple(keys), created_at_s=1.0)])


def churn(ledger):
    """Do everything that can be done to batches, for ever."""
    say("ready")
    with ledger.session() as owner:
        ledger.start_run(RunRecord(id=owner, kind="x", owner="", started_at_s=1.0))
        for n in range(1, 1_000_000):
            keys = (f"{n:06}a", f"{n:06}b")
            ledger.mark([Mark(stage="s", key=key) for key in keys])
            ledger.add_batches([Batch(id=f"{n:06}", kind="x", run=owner, keys=keys, created_at_s=1.0)])
            taken = ledger.take_batch(owner, 60.0, run=owner)
            ledger.extend_batches([taken], 60.0)
            (ledger.release_batch if n % 3 else ledger.end_batch)(taken)
            if n % 10 == 0:
                ledger.expire_batches(1e12, 1)
            say(n)


def fill(ledger):
    """Begin to fill the ledger, and wait to be killed."""

    def entries():
        for n in range(5000):
            yield Note(name=f"{n}", value="x")
        say("ready")
        signal.pause()

    ledger.load(entries())


def main(endpoint, prefix, ttl_s, command):
    ledger = EtcdLedger(Address(endpoints=(endpoint,)), prefix, ttl_s=int(ttl_s))
    commands = {"hold": hold, "sleep": sleep, "pull": pull, "cut": cut, "churn": churn, "fill": fill}
    commands[command](ledger)
    ledger.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
