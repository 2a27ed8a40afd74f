"""Cost of a run on servers when nearly all was done before: nothing to do, one new picture, one deleted.

Pictures really lie in the bucket, and ``lookout run`` without SOURCE compares all of them with the ledger. Every
command is run on a deployment with a single picture too: what it takes there (the interpreter, libraries, connections,
worker processes, the model, the charts) is its start-up, and the rest is what the known pictures cost. An empty one
would not do: with its last picture deleted it has no chart to draw, and starts no worker. What is deleted is what the
round before has added, so that no two rounds come to the same charts, which would be found and not drawn.

A scan of the whole bucket takes at least as long as its listing, whose time on the server is measured too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.finished import DEVICES, RULES
from bench.measure import LOOKOUT, Finished, Row, Setup, check_counts, load, run_process
from bench.pictures import PERSON, PHOTOS, tiny, varied
from bench.services import Site, servers
from bench.services_ledger import BAR_SKIPS
from bench.states import LAST_DAY_S, READERS, enforce, finish
from lookout.app.deployment import Deployment, open_minio
from lookout.execution.executor import InlineWorkers
from lookout.object_store.minio import MinioStore
from lookout.object_store.minio.listing import PAGE
from lookout.runs.runner import Order, Ran, Runner
from lookout.sources.ingest import BucketIntake
from lookout.version import code_version
from stages.pipeline import PIPELINE

ALONE: Final = 1
SIZES: Final = (400, 10_000)
ROUNDS: Final = (9, 3)
"""In full and quick, and one before them: it fills caches and draws the charts that a made-up state has not."""
BAR_S: Final = 0.4
JPEG: Final = "image/jpeg"
THRESHOLD: Final = 0.5
STEPS: Final = ("no-op", "add one", "delete one")
ADDED: Final = {stage.name: 1 for stage in PIPELINE.stages if not stage.grouped}
AT_ONCE: Final = 500


def measure(setup: Setup) -> list[Row]:
    """Measure whole processes over a single known picture and over 400 and 10,000, in turn; then the same within one
    process that has everything loaded."""
    sizes = (ALONE, *(setup.pick(size, min(size, 2000)) for size in SIZES))
    with servers(setup.folder) as started:
        sites = {size: started.site(f"n{size}") for size in sizes}
        for size, site in sites.items():
            _fill(setup, site, size)
        walls_s, peaks_mb = _whole(setup, sites)
        warm_s = _warm(setup, sites, setup.pick(*ROUNDS) + 1)
        bare_s = {size: _bare(setup, site) for size, site in sites.items()}
    rows: list[Row] = []
    for step in STEPS:
        control = walls_s[ALONE, step]
        for size in sizes[1:]:
            beyond = [with_s - without_s for with_s, without_s in zip(walls_s[size, step], control, strict=True)]
            rows.append(Row(what=f"{step} over {size:,}, beyond the same over one", values=beyond, unit="s", bar=BAR_S))
        for what, seconds in (("whole process", walls_s), ("in process, all loaded", warm_s)):
            rows += [
                Row(what=f"{step}: {what}, {size:,} known", values=seconds[size, step], unit="s") for size in sizes
            ]
    many = sizes[-1]
    rows.append(
        Row(
            what=f"skip: {len(ADDED)} datums for each of {many:,} pictures in a run with nothing to do",
            values=[len(ADDED) * many / seconds for seconds in warm_s[many, "no-op"]],
            unit="datums/s",
            bar=BAR_SKIPS,
            at_least=True,
        )
    )
    rows += [Row(what=f"no-op: peak memory, {size:,} known", values=peaks_mb[size], unit="MB") for size in sizes]
    for what in ("all pages at once, unread", "by minio-py"):
        rows += [
            Row(what=f"bare listing: {what}, {size:,} known", values=bare_s[size][what], unit="s") for size in sizes
        ]
    return rows


# --- the pictures -----------------------------------------------------------------------------------------------------


def _fill(setup: Setup, site: Site, size: int) -> None:
    """Tiny pictures in the bucket, each read and taken in as a run does it, their results made up."""
    setup.say(f"filling a bucket with {size:,} pictures, load average {load()}")
    with site.open() as opened:
        store = _store(site)
        for first in range(0, size, AT_ONCE):
            store.connection.each(partial(_put_tiny, store), range(first, min(size, first + AT_ONCE)))
        enforce(opened, RULES)
        if opened.bucket is None:
            raise RuntimeError("expected a deployment whose store has the bucket of pictures")
        BucketIntake(
            ledger=opened.ledger, source=opened.bucket, bucket=PIPELINE.inputs, readers=READERS, clock=time.time
        ).take()
        done = finish(opened.ledger)
    if done[READERS[0]] != size:
        raise RuntimeError(f"expected {size} pictures, got {dict(done)}")


def _store(site: Site) -> MinioStore:
    address = site.settings.store
    if address is None:
        raise RuntimeError("expected a deployment with a store of its own")
    return open_minio(address)


def _put_tiny(store: MinioStore, number: int) -> None:
    key = f"cam{number % DEVICES:02}_{LAST_DAY_S + number // DEVICES * 60}.jpg" if number else _key(-1)
    store.put(PIPELINE.inputs, key, tiny(number), JPEG)


def _key(number: int) -> str:
    return f"cam{number % DEVICES:02}_{LAST_DAY_S + 80_000 + number}.jpg"


def _add(store: MinioStore, number: int) -> None:
    """A new picture of a person, from one of the devices on the newest day."""
    store.put(PIPELINE.inputs, _key(number), varied((PHOTOS / PERSON).read_bytes(), number), JPEG)


def _delete(store: MinioStore, number: int) -> None:
    """Delete the picture that was added under this number; the first of all was there from the beginning."""
    store.connection.delete(store.full(PIPELINE.inputs), _key(number))


# --- runs -------------------------------------------------------------------------------------------------------------


def _whole(
    setup: Setup, sites: Mapping[int, Site]
) -> tuple[dict[tuple[int, str], list[float]], dict[int, list[float]]]:
    """Wall seconds of ``lookout run`` as a process, by how many pictures are known and what has changed; and the peak
    memory in MB of those with nothing to do."""
    rounds = setup.pick(*ROUNDS)
    walls_s: dict[tuple[int, str], list[float]] = {(size, step): [] for size in sites for step in STEPS}
    peaks_mb: dict[int, list[float]] = {size: [] for size in sites}
    for number in range(rounds + 1):
        for step, change, expected in _steps(number):
            for size, site in sites.items():
                change(_store(site))
                finished = _run(site, size, expected)
                if number:
                    walls_s[size, step].append(finished.wall_s)
                    if not expected:
                        peaks_mb[size].append(finished.peak_bytes / 1e6)
        setup.say(f"round {number} of {rounds}, load average {load()}")
    return walls_s, peaks_mb


def _run(site: Site, size: int, expected: Mapping[str, int]) -> Finished:
    command: list[str | Path] = [LOOKOUT, "run", "--state", site.state, "--rules", RULES, "--json"]
    command += ["--threshold", str(THRESHOLD)]
    finished = run_process(command, site.environment)
    said = finished.json()
    check_counts(said, {stage: {"success": expected.get(stage, 0), "failed": 0} for stage in ADDED})
    if said["retracted"] != expected.get("retracted", 0) or said["pictures"] != size + expected.get(READERS[0], 0):
        raise RuntimeError(f"expected {dict(expected)} with {size} pictures known, got {said}")
    return finished


def _warm(setup: Setup, sites: Mapping[int, Site], first: int) -> dict[tuple[int, str], list[float]]:
    """Return seconds that a run takes within a process that has the model and all libraries loaded; rounds from
    ``first``."""
    rounds = setup.pick(*ROUNDS)
    found: dict[tuple[int, str], list[float]] = {(size, step): [] for size in sites for step in STEPS}
    for size, site in sites.items():
        with site.open() as opened:
            workers = InlineWorkers(opened.store)
            for number in range(first, first + rounds + 1):
                for step, change, expected in _steps(number):
                    change(_store(site))
                    ran = _run_here(opened, workers)
                    if any(ran.engine.report.success[stage] != expected.get(stage, 0) for stage in ADDED):
                        raise RuntimeError(f"expected {dict(expected)}, got {ran.engine.report}")
                    if number > first:
                        found[size, step].append(ran.elapsed_s)
        setup.say(f"in process over {size:,}, load average {load()}")
    return found


def _bare(setup: Setup, site: Site) -> dict[str, list[float]]:
    """Return seconds of a listing of all versions without Lookout: by minio-py, one page after the other; and by
    requests for all pages at once, whose answers nobody reads, which is what the server itself takes."""
    store, found = _store(site), dict[str, list[float]]()
    connection, bucket = store.connection, store.full(PIPELINE.inputs)
    for _ in range(setup.pick(*ROUNDS)):
        start = time.perf_counter()
        listed = connection.client.list_objects(bucket, recursive=True, include_version=True)
        keys = sorted({entry.object_name or "" for entry in listed})
        read = time.perf_counter()
        connection.each(partial(_page, store), ["", *keys[PAGE - 1 :: PAGE]])
        found.setdefault("by minio-py", []).append(read - start)
        found.setdefault("all pages at once, unread", []).append(time.perf_counter() - read)
    return found


def _page(store: MinioStore, after: str) -> bytes:
    query = {"versions": "", "max-keys": str(PAGE), "prefix": "", "delimiter": "", "encoding-type": "url"}
    more = {"key-marker": after} if after else {}
    return store.connection.page(store.full(PIPELINE.inputs), query | more)


def _run_here(opened: Deployment, workers: InlineWorkers) -> Ran:
    runner = Runner(
        pipeline=PIPELINE.with_params({"object-detect": {"threshold": THRESHOLD}}),
        ledger=opened.ledger,
        open_ledger=opened.open_ledger,
        store=opened.store,
        workers=workers,
        outboxes=opened.outboxes,
        code=code_version(),
        bucket=opened.bucket,
    )
    return runner.run(Order())


def _steps(number: int) -> tuple[tuple[str, Callable[[MinioStore], Any], Mapping[str, int]], ...]:
    """Yield the change before each run of a round, and the result that this run must have."""
    nothing, one, gone = STEPS
    return (
        (nothing, _leave, {}),
        (one, partial(_add, number=number), ADDED),
        (gone, partial(_delete, number=number - 1), {"retracted": 1}),
    )


def _leave(store: MinioStore) -> None:
    del store
