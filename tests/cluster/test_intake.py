"""By the intake: what lands together is worked on together, a picture alone is still one DAG, and a burst in which the
parts of the way are killed loses nothing. All ends as on one machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflows.reading import parameters

from . import faults
from .argo_kit import until
from .cluster import Cluster
from .deployment import PERSON, PHOTOS, SETTLED_S, Deployment, Embedded, assert_equal, by_intake, embed

ALONE = "alone"
KILLED = ("EventSource", "Sensor", "intake")
BURST = tuple(f"burst{number}" for number in range(12))


@pytest.fixture(scope="module")
def through(cluster: Cluster) -> Iterator[Deployment]:
    with by_intake(cluster, ALONE, *BURST) as made:
        yield made


@pytest.fixture(scope="module")
def one_machine(through: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Embedded:
    return embed(through.tag, tmp_path_factory.mktemp("embedded"), ALONE, *BURST)


def workflows_of(through: Deployment, *keys: str) -> set[str]:
    """The workflows that have validated these pictures, once all are through."""
    with through.ledger() as ledger:

        def look() -> set[str]:
            records = [slot.record for slot in ledger.find_slots("validate", keys).values()]
            return {record.run for record in records if record} if all(records) and len(records) == len(keys) else set()

        return set(until(look, SETTLED_S))


def test_what_lands_together_is_worked_on_together(through: Deployment, one_machine: Embedded) -> None:
    photos = sorted(path.name for path in PHOTOS.glob("*.jpg"))
    said = through.lookout("upload", str(PHOTOS), "--prefix", f"{through.tag}-", user="uploader")
    assert said["uploaded"] == len(photos)
    runs = workflows_of(through, *(f"{through.tag}-{name}" for name in photos))
    assert len(runs) < len(photos) / 2
    assert {one["status"]["phase"] for one in through.finished(*runs)} == {"Succeeded"}
    assert_equal(through, one_machine)


def test_a_picture_alone_is_one_workflow_of_one_batch(through: Deployment, one_machine: Embedded) -> None:
    key = f"{through.tag}-{ALONE}{PERSON.name.removeprefix('porch')}"
    through.put("images", key, PERSON.read_bytes())
    (run,) = workflows_of(through, key)
    (workflow,) = through.finished(run)
    assert workflow["status"]["phase"] == "Succeeded"
    batch = parameters(workflow["spec"]["arguments"])["batch"]["value"]
    assert run == f"pipeline-{batch}-1"
    told = workflow["metadata"]["annotations"]["workflows.argoproj.io/description"]
    assert told == "1 landed, attempt 1"
    assert_equal(through, one_machine, ALONE)


def test_a_burst_while_the_parts_of_the_way_are_killed_loses_nothing(
    through: Deployment, one_machine: Embedded, tmp_path: Path
) -> None:
    share = len(BURST) // len(KILLED)
    for number, part in enumerate(KILLED):
        for device in BURST[number * share : (number + 1) * share]:
            through.put("images", f"{through.tag}-{device}{PERSON.name.removeprefix('porch')}", PERSON.read_bytes())
        faults.kill(through.cluster, part)
    assert_equal(through, one_machine, *BURST)
