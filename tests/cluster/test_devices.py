"""A devices file lands in its bucket: names are read as it says; a corrected zone moves results and mails nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lookout.domain.records import AlertState

from .argo_kit import until
from .deployment import SETTLED_S, Deployment
from .embedded import PERSON

DEVICE = "named"
DEVICES_FILE = "devices.json"


@pytest.fixture
def named(deployment: Deployment) -> Iterator[Deployment]:
    """Leaves no devices file behind: no other test's pictures are read by one."""
    yield deployment
    deployment.store.remove_object("devices", DEVICES_FILE)
    with deployment.ledger() as ledger:
        until(lambda: not ledger.references("devices"), SETTLED_S)


def set_zone(deployment: Deployment, zone: str) -> None:
    """Bring into force a file that reads names in this test's folder only, in this zone, as an operator does."""
    pattern = f"{deployment.tag}-{DEVICE}/{{device}}_{{time:%Y%m%d%H%M%S}}.jpg"
    devices = {f"{deployment.tag}-{DEVICE}": {"zone": zone}}
    deployment.put("devices", DEVICES_FILE, json.dumps({"names": [{"pattern": pattern}], "devices": devices}).encode())


def days(deployment: Deployment) -> set[str]:
    """The days, as the names of threats say them."""
    paths = deployment.versions(DEVICE)
    return {path.split("/")[2][:8] for path in paths if path.startswith("threat-detect/")}


def alerts_of(deployment: Deployment) -> list[str]:
    """The ids of this device's alerts, once the mail API took all of them."""
    with deployment.ledger() as ledger:
        mine = [one for one in ledger.alerts() if one.draft.picture_key.startswith(f"{deployment.tag}-{DEVICE}")]
    assert {one.state for one in mine} <= {AlertState.SENT}
    return sorted(one.id for one in mine)


def test_names_are_read_by_a_devices_file_and_a_corrected_zone_mails_nobody(named: Deployment) -> None:
    key = f"{named.tag}-{DEVICE}/{named.tag}-{DEVICE}_20251122003000.jpg"
    set_zone(named, "UTC")
    named.taken("devices", DEVICES_FILE)
    named.put("images", key, PERSON.read_bytes())
    assert named.runs_of(key)
    until(lambda: days(named) == {"20251122"}, SETTLED_S)
    alerts = until(lambda: alerts_of(named), SETTLED_S)

    set_zone(named, "Europe/Vienna")
    until(lambda: days(named) == {"20251121"}, SETTLED_S)
    said = json.loads(named.store.get_object("validate", f"names/{key}.json").read())
    assert said["captured_at_s"] == 1763767800.0
    assert alerts_of(named) == alerts, "a picture that only moved to its right day makes no alert"
