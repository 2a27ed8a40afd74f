"""From an upload to results, provenance and mail by events and workflows: equal to the embedded run; and so is what a
rule, a model and a deletion change, and nothing else is made again."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lookout.domain.records import JsonObject
from lookout.object_store.port import STATUS_KEY
from lookout.runs.status_file import parse

from .argo_kit import until
from .deployment import Deployment, assert_equal
from .embedded import DEVICES, MANIFEST, MODEL, PHOTOS, Embedded

DELETED = "porch_1763798400.jpg"
STALE_S = 300.0
"""The page calls a status stale that is older."""
CUPS = {"name": "cups", "classes": ["cup"], "from": "lookout@example.com", "to": ["kitchen@example.com"]}


@pytest.fixture(scope="module")
def uploaded(deployment: Deployment) -> Iterator[Deployment]:
    """The sample photographs, uploaded together by a device's user, through the events and the workflows."""
    photos = list(PHOTOS.glob("*.jpg"))
    said = deployment.lookout("upload", str(PHOTOS), "--prefix", f"{deployment.tag}-", user="uploader")
    assert said["uploaded"] == len(photos)
    runs = deployment.runs_of(*(f"{deployment.tag}-{path.name}" for path in photos))
    assert len(runs) < len(photos) / 2
    assert {one["status"]["phase"] for one in deployment.finished(*runs)} == {"Succeeded"}
    yield deployment
    deployment.store.remove_object("rules", cups(deployment))


def cups(deployment: Deployment) -> str:
    """The name of the new rule's file."""
    return f"{deployment.tag}-cups.json"


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """Return the results that came, went, or have another version."""
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def test_an_upload_gives_what_the_embedded_run_gives(uploaded: Deployment, embedded: Embedded) -> None:
    assert_equal(uploaded, embedded)


def test_provenance_names_the_picture_and_the_workflow(uploaded: Deployment) -> None:
    threat = next(path for path in uploaded.versions("porch") if re.fullmatch("threat-detect/.*[.]json", path))
    told = json.dumps(uploaded.lookout("trace", threat))
    picture = re.search(rf"images/({uploaded.tag}-porch_[0-9]+[.]jpg)", told)
    assert picture
    (run,) = uploaded.runs_of(picture[1])
    assert run in told


def test_the_status_beside_the_page_is_written_by_the_clock(uploaded: Deployment) -> None:
    def find_fresh() -> JsonObject | None:
        listed = uploaded.store.list_objects("plot", prefix=STATUS_KEY)
        said = parse(b"".join(uploaded.store.get_object("plot", STATUS_KEY).read() for _ in listed))
        at_s = said.get("at_s", 0.0)
        return said if isinstance(at_s, float) and time.time() - at_s < STALE_S else None

    said = until(find_fresh, STALE_S)
    assert (said["watching"], said["broken"]) == (True, False)


def test_a_backfill_of_what_is_done_changes_nothing(uploaded: Deployment, embedded: Embedded) -> None:
    before = uploaded.versions(*DEVICES)
    name = uploaded.submit("backfill", prefix=f"{uploaded.tag}-")
    (ended,) = uploaded.finished(name)
    assert ended["status"]["phase"] == "Succeeded"
    assert uploaded.versions(*DEVICES) == before
    assert_equal(uploaded, embedded)


def test_a_new_rule_makes_the_threats_of_its_devices_anew_and_nothing_else(
    uploaded: Deployment, embedded: Embedded
) -> None:
    before = uploaded.versions(*DEVICES)
    name = cups(uploaded)
    body = json.dumps({"rules": [{**CUPS, "user": uploaded.tag, "devices": [f"{uploaded.tag}-kitchen"]}]}).encode()
    (embedded.rules / name).write_bytes(body)
    embedded.run("--rules", embedded.rules)
    uploaded.put("rules", name, body)
    uploaded.taken("rules", name)
    assert_equal(uploaded, embedded)
    made = changed(before, uploaded.versions(*DEVICES))
    assert {path.partition("/")[0] for path in made} == {"threat-detect", "plot"}
    assert all(f"{uploaded.tag}-kitchen" in path for path in made)


def test_a_new_model_makes_detections_and_what_depends_on_them_anew_and_nothing_else(
    uploaded: Deployment, embedded: Embedded, tmp_path: Path
) -> None:
    before = uploaded.versions(*DEVICES)
    shipped = (MODEL / MANIFEST).read_bytes()
    weights = (MODEL / MANIFEST).with_suffix(".onnx")
    manifest = json.dumps(json.loads(shipped) | {"name": uploaded.tag}).encode()
    (tmp_path / MANIFEST).write_bytes(manifest)
    (tmp_path / weights.name).write_bytes(weights.read_bytes())
    embedded.run("--model", tmp_path)
    try:
        uploaded.put("model", weights.name, weights.read_bytes())
        uploaded.put("model", MANIFEST, manifest)
        uploaded.taken("model", uploaded.tag)
        after = uploaded.versions(*DEVICES)
        assert_equal(uploaded, embedded)
    finally:
        uploaded.put("model", MANIFEST, shipped)
    made = changed(before, after)
    assert made == {path for path in before if not path.startswith("validate/")}
    uploaded.taken("model", json.loads(shipped)["name"])
    embedded.run("--model", MODEL / MANIFEST)
    assert_equal(uploaded, embedded)


def test_a_deleted_picture_takes_its_results_with_it_and_no_other(uploaded: Deployment, embedded: Embedded) -> None:
    before = uploaded.versions(*DEVICES)
    picture = f"{uploaded.tag}-{DELETED}"
    uploaded.store.remove_object("images", picture)
    (embedded.source / picture).unlink()
    embedded.run()
    assert_equal(uploaded, embedded)
    made = changed(before, uploaded.versions(*DEVICES))
    assert {path.partition("/")[0] for path in made} == {"validate", "object-detect", "threat-detect", "plot"}
    assert all(f"{uploaded.tag}-porch" in path for path in made)
