"""A device uploads 300 pictures while each part that an upload passes is killed, and then frozen for half a minute.

Each picture ends processed once, each threat has its letters, and none comes twice but those marked unknown; and events
that come twice, late and in another order change nothing.
"""

from __future__ import annotations

import itertools
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from minio.error import S3Error
from urllib3.exceptions import HTTPError

from lookout.domain.records import AlertState, State
from lookout.ledger.port import Ledger
from tests.cli.shell import World

from . import faults
from .argo_kit import until
from .cluster import Cluster
from .deployment import Deployment, by_intake
from .embedded import CALM, PERSON, Embedded, embed
from .test_events import Events, landed

PICTURES = 300
FROZEN_S = 30.0
THREAT_OF = 10
"""One picture in so many is of a person."""
FIRST_S = 1763798400
DEVICES = ("near", "far", "last")
AGAIN = 30
SETTLED_S = 1500.0
STAGES = ("validate", "object-detect", "threat-detect")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def through(cluster: Cluster) -> Iterator[Deployment]:
    with by_intake(cluster, *DEVICES) as made:
        yield made


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs, under names without a tag, in the order in which they were taken."""
    folder = tmp_path_factory.mktemp("taken")
    for number in range(PICTURES):
        name = f"{DEVICES[number * len(DEVICES) // PICTURES]}_{FIRST_S + number}.jpg"
        shutil.copy(PERSON if number % THREAT_OF == 0 else CALM, folder / name)
    return folder


@pytest.fixture(scope="module")
def one_machine(through: Deployment, taken: Path, tmp_path_factory: pytest.TempPathFactory) -> Embedded:
    """Return the results of one machine for them."""
    return embed(through.tag, tmp_path_factory.mktemp("embedded"), *DEVICES, photos=taken)


def uploaded_under_fire(through: Deployment, taken: Path, folder: Path) -> list[str]:
    """The keys, once a device has uploaded all: some while each part was killed, and some while it was frozen."""
    user = through.secret("lookout-store-uploader")
    world = World(root=folder, environment={"LOOKOUT_STORE": through.environment["LOOKOUT_STORE"], **user})
    world.photos.mkdir()
    photos = sorted(taken.iterdir(), key=lambda path: path.name.partition("_")[2])
    rounds = [(how, part) for how in ("killed", "frozen") for part in faults.WAY]
    with world.start("watch", "photos", "--upload", "--json") as device:
        for number, (how, part) in enumerate(rounds):
            share = photos[number * PICTURES // len(rounds) : (number + 1) * PICTURES // len(rounds)]
            if how == "killed":
                take(world, through, share)
                faults.kill(through.cluster, part)
            else:
                with faults.frozen(through.cluster, part, FROZEN_S):
                    take(world, through, share)
        keys = [f"{through.tag}-{path.name}" for path in photos]
        until(lambda: is_uploaded(through, keys), SETTLED_S)
        assert device.stop(signal.SIGINT) == 130
    return keys


def take(world: World, through: Deployment, photos: list[Path]) -> None:
    """Write a file as a camera does: it is whole in the end."""
    for path in photos:
        shutil.copy(path, world.photos / f"{through.tag}-{path.name}")


def is_uploaded(through: Deployment, keys: list[str]) -> bool:
    try:
        there = {one.object_name for one in through.store.list_objects("images", prefix=f"{through.tag}-")}
    except (S3Error, HTTPError, OSError) as error:  # MinIO was killed a moment ago
        raise AssertionError(str(error)) from error
    return there.issuperset(keys)


def is_done(ledger: Ledger, keys: list[str]) -> bool:
    return all(
        len(found) == len(keys) and all(slot.state is State.SUCCESS for slot in found.values())
        for found in (ledger.find_slots(stage, keys) for stage in STAGES)
    )


@pytest.fixture(scope="module")
def keys(through: Deployment, taken: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The pictures, once the ledger says that all stages are done with all of them."""
    keys = uploaded_under_fire(through, taken, tmp_path_factory.mktemp("device"))
    with through.ledger() as ledger:
        until(lambda: is_done(ledger, keys), SETTLED_S)
    return keys


def test_all_is_done_as_on_one_machine(through: Deployment, one_machine: Embedded, keys: list[str]) -> None:
    wanted = one_machine.results(*DEVICES)

    def differing() -> list[str]:
        there = through.results(*DEVICES)
        return [path for path in wanted.keys() | there.keys() if there.get(path) != wanted.get(path)]

    with suppress(AssertionError):  # what differs is said below
        until(lambda: not differing(), SETTLED_S)
    assert differing() == []
    assert len([path for path in wanted if path.startswith("validate/valid/")]) == len(keys)


def told(through: Deployment) -> Counter[str]:
    """In how many mails each alert was told of, alone or in a digest."""
    texts = [part["value"] for mail in through.mails() for part in mail["content"] if part["type"] == "text/plain"]
    return Counter(alert for text in texts for alert in re.findall(r"^ +alert +([0-9a-f]{64})$", text, re.MULTILINE))


def test_each_threat_is_told_of_and_none_twice_but_what_nobody_knows(
    through: Deployment, one_machine: Embedded, keys: list[str]
) -> None:
    wanted = {str(mail["x-lookout-alert"]) for mail in one_machine.mails()}
    assert len(wanted) >= 2 * PICTURES / THREAT_OF
    until(lambda: wanted <= told(through).keys(), SETTLED_S)
    with through.ledger() as ledger:
        alerts = {alert.id: alert for alert in ledger.alerts() if alert.draft.picture_key in keys}
    assert alerts.keys() == wanted
    assert {alert.state for alert in alerts.values()} <= {AlertState.SENT, AlertState.UNKNOWN}
    twice = {alert for alert, number in told(through).items() if alert in wanted and number > 1}
    assert all(alerts[alert].tries > 1 for alert in twice), "only after a try of which nobody knows the end"


def test_events_that_come_twice_late_and_in_another_order_change_nothing(through: Deployment, keys: list[str]) -> None:
    before = through.versions(*DEVICES), told(through)
    intake = Events(
        cluster=through.cluster,
        address=through.addresses["intake"],
        port=8080,
        token=through.secret("lookout-webhook")["token"],
    )
    for key, _ in itertools.product(reversed(keys[:AGAIN]), range(2)):
        assert intake.post(landed(f"images/{key}", sequencer="01")) == 200
        assert intake.post(landed(f"images/{key}", event="s3:ObjectRemoved:DeleteMarkerCreated")) == 200
    # What was answered is in the ledger: what it would do is known now.
    with through.ledger() as ledger:
        assert is_done(ledger, keys)
    assert (through.versions(*DEVICES), told(through)) == before
