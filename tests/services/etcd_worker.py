"""Work of another process on a ledger in etcd: ``python -m tests.services.etcd_worker ENDPOINT PREFIX TTL_S COMMAND``.

Says ``ready`` on its standard output when what the test waits for has happened.
"""

import os
import signal
import sys
import time

from devkit.contracts.ledger_kit import done, record, ref
from lookout.domain.errors import ObjectMissing, Unavailable
from lookout.domain.records import Mark
from lookout.ledger.etcd import Address, EtcdLedger
from lookout.ledger.port import RunRecord
from lookout.outbox.outbox import Outbox
from stages.threat_detect.mail.sendgrid import SendGridChannel


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def hold(ledger):
    """Claim slots and alerts, begin a run, and wait to be killed."""
    with ledger.session() as owner:
        ledger.start_run(RunRecord(id="r", kind="run", owner=owner, started_at_s=1.0))
        claims = ledger.claim("s", owner, 10, 3600.0)
        ledger.begin_sending(owner, [held.id for held in ledger.claim_alerts(owner, 10, 1e12)])
        say("ready", *[claim.key for claim in claims])
        signal.pause()


def sleep(ledger):
    """Claim slots, wait to be told, commit them late, and try to claim again."""
    with ledger.session() as owner:
        claims = ledger.claim("s", owner, 10, 3600.0)
        say("ready", *[claim.key for claim in claims])
        sys.stdin.readline()
        answers = ledger.commit([(claim, done(record(claim.key, "late"))) for claim in claims])
        say(*[answer.value for answer in answers])
        try:
            ledger.claim("s", owner, 10, 60.0)
        except Unavailable as exc:
            say(exc)


def publish(ledger):
    """Begin to publish, and wait to be killed."""
    with ledger.unpublished() as changes:
        say("ready", *[change.key for change in changes])
        signal.pause()


def drain(ledger):
    """Claim and settle until nothing is left, all in one group; name what was claimed."""
    say("ready")
    sys.stdin.readline()
    with ledger.session() as owner:
        while claims := ledger.claim("s", owner, 20, 60.0):
            say(*[claim.key for claim in claims])
            made = [record(claim.key, group="day", counts={"n": 1}, at_s=float(claim.key)) for claim in claims]
            ledger.commit([(claim, done(each)) for claim, each in zip(claims, made, strict=True)])


def churn(ledger):
    """Commit pairs of slots that must always agree, for ever."""
    say("ready")
    with ledger.session() as owner:
        for n in range(1, 1_000_000):
            ledger.mark([Mark(stage="s", key="a"), Mark(stage="s", key="b")])
            outcomes = []
            for claim in ledger.claim("s", owner, 2, 3600.0):
                out = ref("s", f"{claim.key}.json", str(n), version=str(n))
                outcomes.append((claim, done(record(claim.key, f"{claim.key}{n}", outputs=[out], counts={"n": n}))))
            ledger.commit(outcomes)
            if n % 3 == 0:
                with ledger.unpublished():
                    pass
            say(n)


class NoStore:
    """A store that holds nothing."""

    def get(self, ref):
        raise ObjectMissing(ref.bucket, ref.key)


def outbox_of(ledger, owner, channel):
    """An outbox of letters without pictures."""
    return Outbox(ledger=ledger, store=NoStore(), channel=lambda _: channel, owner=owner, clock=time.time)


class Freezing:
    """A channel whose process is frozen once it is noted that a request may leave, just before it does."""

    name = "freezing"

    def __init__(self, channel):
        self._channel = channel

    def begin(self, letter):
        self._request = self._channel.begin(letter)
        return self

    def send(self, now_s, departure):
        say("ready")
        os.kill(os.getpid(), signal.SIGSTOP)
        return self._request.send(now_s, departure)

    def close(self):
        self._request.close()


def post(ledger, host):
    """Send what is due, and be frozen before it leaves."""
    with ledger.session() as owner:
        outbox_of(ledger, owner, Freezing(SendGridChannel("SG.test", host))).dispatch()


COMMANDS = {"hold": hold, "sleep": sleep, "publish": publish, "drain": drain, "churn": churn, "post": post}


def main(endpoint, prefix, ttl_s, command):
    ledger = EtcdLedger(Address(endpoints=(endpoint,)), prefix, ttl_s=int(ttl_s))
    command, *words = command.split()
    COMMANDS[command](ledger, *words)
    ledger.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
