"""Fairness of the benchmarks on servers: both sides are alike, and the work measured is the work named. No server is
needed for that."""

from __future__ import annotations

import io
import time
from collections import Counter

from bench.measure import ROOT
from bench.services_bare import work
from bench.services_cost import PIPELINE as TOY
from bench.services_cost import STAGES
from bench.services_pass import BATCH, skip, take_batch
from bench.states import Unchanging, make_state, observations
from devkit.fakes.memory_kv import memory_ledger
from lookout.app.deployment import Program
from lookout.config.settings import Settings
from lookout.domain.identity import sha256
from lookout.domain.records import Observation
from lookout.engine.engine import Engine
from lookout.engine.session import EngineSession
from lookout.execution.executor import InlineWorkers
from lookout.object_store.folder.store import FolderStore
from stages.installation import INSTALLATION

RULES = ROOT / "bench" / "people.json"
TEXTS = {"device1/quiet.txt": b"0123abcd", "device2/loud.txt": b"4567cdef alarm"}


class Noted(FolderStore):
    """Notes what is read and written, as (what, bucket, key, digest)."""

    def __init__(self, root) -> None:
        super().__init__(root, durable=False)
        self.seen: Counter[tuple[str, str, str, str]] = Counter()

    def get(self, ref):
        self.seen["get", ref.bucket, ref.key, ref.sha256] += 1
        return super().get(ref)

    def put(self, bucket, key, data, content_type, **more):
        self.seen["put", bucket, key, sha256(data)] += 1
        return super().put(bucket, key, data, content_type, **more)


class Client:
    """As much of a MinIO client as the bare loop uses; notes the same."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}
        self.seen: Counter[tuple[str, str, str, str]] = Counter()

    def get_object(self, bucket, key):
        data = self.kept[bucket, key]
        self.seen["get", bucket, key, sha256(data)] += 1
        return Body(data)

    def put_object(self, bucket, key, stream, length, content_type):
        assert content_type
        data = stream.read(length)
        self.seen["put", bucket, key, sha256(data)] += 1
        self.kept[bucket, key] = data


class Body(io.BytesIO):
    def release_conn(self) -> None:
        pass


def test_the_bare_loop_gets_and_puts_what_the_engine_does(tmp_path):
    client = Client()
    client.kept = {("texts", key): data for key, data in TEXTS.items()}
    for key in TEXTS:
        work(client, "", key)
    assert client.seen == toy_objects(tmp_path)


def toy_objects(folder):
    """Return the objects that the toy's ordinary stages read and write for the texts."""
    store, ledger = Noted(folder), memory_ledger()
    refs = {key: store.put("texts", key, data, "text/plain") for key, data in TEXTS.items()}
    store.seen.clear()
    known = [
        Observation(bucket="texts", key=key, origin="test", ref=ref, fingerprint=key, observed_at_s=time.time())
        for key, ref in refs.items()
    ]
    ledger.observe(known, [stage.name for stage in TOY.readers("texts")])
    with ledger.session() as owner:
        engine = Engine(
            pipeline=TOY,
            ledger=ledger,
            store=store,
            workers=InlineWorkers(store),
            source=Unchanging(),
            session=EngineSession(owner=owner, run="test", code="test"),
        )
        report = engine.work(STAGES)
    assert report.success == {stage.name: len(TEXTS) for stage in STAGES}
    return store.seen


def test_a_pass_does_new_batches_and_skips_what_is_done(tmp_path):
    state = tmp_path / "state"
    make_state(state, tmp_path, RULES, observations(tmp_path, devices=50, days=1, a_day=2))
    with Program(settings=Settings(durable=False), installation=INSTALLATION).open(state) as opened:
        for number in range(2):
            spent_s = take_batch(opened.ledger, tmp_path, number)
            assert set(spent_s) == {"observe", "ordinary", "grouped", "cpu"}
        skipped = skip(opened.ledger, 30)
        assert {stage: count for stage, (count, _, _) in skipped.items()} == {
            "validate": 30,
            "object-detect": 30,
            "threat-detect": 30,
        }
        assert opened.ledger.count_inputs("images") == 100 + 2 * BATCH


def test_days_can_be_made_up_in_two_steps(tmp_path):
    def keys(days, first_day=0):
        return [seen.key for seen in observations(tmp_path, 3, days, 4, first_day)]

    first, rest = keys(1), keys(5, first_day=1)
    assert (len(first), len(rest)) == (12, 48)
    assert sorted(first + rest) == sorted(keys(5))
