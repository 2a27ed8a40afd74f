"""``run``, ``status``, ``datums``, ``alerts``, ``trace``, ``ls``, ``get`` and ``history`` on real servers say what they
say embedded, and make the same bytes: the sample photographs taken through both."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lookout.domain.identity import sha256
from lookout.object_store.port import STATUS_KEY
from lookout.runs.status_file import parse
from tests.cli.shell import CALM, CUT, PHOTOS, RULES, THREAT, World
from tests.services.cli_kit import BUCKETS, STAGES, Site

OF_THIS_RUN = frozenset(
    {
        "run",
        "owner",
        "version",
        "origin",
        "source",
        "page",
        "elapsed_s",
        "started_at_s",
        "finished_at_s",
        "finished_at",
        "ended_at_s",
        "created_at_s",
        "observed_at_s",
        "due_at_s",
        "settled_at_s",
        "updated_at_s",
        "token",
    }
)
"""What two runs of the same photographs cannot share: only its kind is compared."""
DETECTED = f"threat-detect/{THREAT.replace('_', '/')}"


@dataclass
class Both:
    """The same photographs, worked through embedded and on servers, from equal folders with equal names."""

    embedded: World
    site: Site
    said: tuple[Any, Any]

    def ask(self, *arguments: object) -> tuple[Any, Any]:
        """Return the answers of both to the same command, as JSON documents or lines of them."""
        first = self.embedded.lookout(*arguments, "--state", "state", "--json")
        second = self.site.lookout(*arguments, "--state", "state", "--json")
        return documents(first.out), documents(second.out)


def documents(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines()]


def comparable(value: Any, name: str = "") -> Any:
    """The value with what belongs to one run replaced by its kind; the ids of runs too."""
    if isinstance(value, dict):
        is_run = {"kind", "owner"} <= value.keys()
        return {key: comparable(item, "run" if is_run and key == "id" else key) for key, item in value.items()}
    if isinstance(value, list):
        return [comparable(item, name) for item in value]
    return type(value).__name__ if name in OF_THIS_RUN else value


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory, etcd, minio) -> Both:
    root = tmp_path_factory.mktemp("both")
    environment = etcd.settings() | minio.settings()
    environment |= {"LOOKOUT_STORE": f"{minio.url}/both-", "LOOKOUT_LEDGER": f"{etcd.url}/both"}
    embedded, site = World(root=root / "embedded"), Site(root=root / "site", environment=environment)
    for world in (embedded, site):
        world.root.mkdir()
        world.put(*(photo.name for photo in PHOTOS.iterdir()))
        shutil.copytree(RULES, world.root / "rules")
    site.begin()
    site.lookout("upload", "photos", env=site.be("uploader"))
    first = embedded.run("--rules", "rules")
    second = site.work("--state", "state", "--rules", "rules", env=site.be("engine"))
    return Both(embedded=embedded, site=site, said=(first, second))


# --- the same as embedded --------------------------------------------------------------------------------------------


def test_a_run_says_the_same(both: Both) -> None:
    embedded, site = both.said
    assert list(site) == list(embedded)
    assert comparable(site) == comparable(embedded)
    assert site["page"].endswith("plot/index.html")


def test_the_results_are_equal_byte_for_byte(both: Both) -> None:
    embedded = {path: data for path, data in both.embedded.results().items() if path.split("/")[0] in STAGES}
    site = both.site.objects()
    assert sorted(site) == sorted(embedded)
    assert [path for path in site if site[path] != embedded[path]] == []


def test_the_status_beside_the_page_is_the_same_and_no_leftover(both: Both) -> None:
    embedded = parse((both.embedded.state / "objects" / "plot" / STATUS_KEY).read_bytes())
    engine, store = both.site.be("engine"), both.site.store
    said = parse(store.find_visible("plot", STATUS_KEY))
    assert {**said, "at_s": 0} == {**embedded, "at_s": 0}
    assert said["failed"] == 0
    both.site.lookout("gc", "--grace", "0s", env=engine)
    assert parse(store.find_visible("plot", STATUS_KEY)) == said


def test_the_same_letters_are_written(both: Both) -> None:
    names = [letter.name for letter in both.embedded.letters()]
    assert names
    assert [letter.name for letter in both.site.letters()] == names


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("datums", "list"),
        ("datums", "list", "--stage", "validate", "--labelled"),
        ("datums", "list", "--in", "success", "--prefix", "porch", "--limit", "3"),
        ("datums", "list", "--after", "plot", "porch/2025-11-22"),
        ("datums", "show", "validate", CUT),
        ("datums", "show", "threat-detect", THREAT),
        ("datums", "show", "plot", ""),
        ("alerts", "list", "--in", "written"),
        ("alerts", "list", "--in", "sent"),
        ("trace", DETECTED.replace(".jpg", ".json")),
        ("trace", f"images/{THREAT}", "--forward"),
        ("trace", "plot/index.html"),
        ("trace", "rules/home.json/rules", "--forward"),
        ("ls", "validate"),
        ("ls", "plot/data/porch"),
    ],
    ids=" ".join,
)
def test_a_command_says_the_same(both: Both, command: tuple[str, ...]) -> None:
    embedded, site = both.ask(*command)
    ignored = {"modified_at_s"} if command[0] == "ls" else set()
    assert without(comparable(site), ignored) == without(comparable(embedded), ignored)


def without(value: Any, names: set[str]) -> Any:
    if isinstance(value, list):
        return [without(item, names) for item in value]
    if isinstance(value, dict):
        return {name: item for name, item in value.items() if name not in names}
    return value


def test_a_datum_is_the_same_datum(both: Both) -> None:
    embedded, site = both.ask("datums", "list")
    assert {item["hash"] for item in site} == {item["hash"] for item in embedded}


def test_unknown_names_are_refused_alike(both: Both) -> None:
    for command in (
        ("trace", "images/nothing.jpg"),
        ("datums", "show", "validate", "nothing.jpg"),
        ("alerts", "resend", "ffff"),
        ("get", "images/nothing.jpg"),
        ("get", "validate/nothing"),
        ("history", "plot/nothing"),
        ("ls", "nothing"),
    ):
        both.embedded.refused(*command, "--state", "state")
        both.site.refused(*command, "--state", "state")


def test_an_alert_that_was_sent_is_left_alone_alike(both: Both) -> None:
    id_ = both.site.letters()[0].stem
    embedded, site = both.ask("alerts", "resend", id_)
    assert site == embedded == {"resent": 0}


# --- what only changes ------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, store_settings: dict[str, str], ledger_settings: dict[str, str]) -> Site:
    """A site with buckets, two photographs in them and one run."""
    site = Site(root=tmp_path, environment=store_settings | ledger_settings)
    site.lookout("init")
    site.put(THREAT, CALM)
    shutil.copytree(RULES, site.root / "rules")
    site.lookout("upload", "photos")
    site.work("--rules", "rules")
    return site


def test_a_second_run_does_nothing_and_a_changed_picture_only_its_own(site: Site) -> None:
    assert {name: counts["success"] for name, counts in site.work()["stages"].items()} == dict.fromkeys(STAGES, 0)
    shutil.copyfile(PHOTOS / CALM, site.photos / THREAT)
    site.lookout("upload", "photos")
    before = site.lookout("history", f"images/{THREAT}", "--json").lines
    assert [(entry["visible"], entry["named"]) for entry in before] == [(True, False), (False, True)]
    assert site.work()["stages"]["validate"] == {"success": 1, "skipped": 1, "failed": 0, "unrunnable": 0}
    after = site.lookout("history", f"images/{THREAT}", "--json").lines
    assert [(entry["visible"], entry["named"]) for entry in after] == [(True, True), (False, False)]
    check_removal(site)


def check_removal(site: Site) -> None:
    """The changed picture is no threat any more: its result is removed, and history tells."""
    removal, result = site.lookout("history", DETECTED, "--json").lines
    assert (removal["removed"], removal["size"], removal["kept"]) == (True, None, False)
    assert (result["removed"], result["named"], result["kept"]) == (False, False, True)
    assert "lookout history" in site.refused("get", DETECTED)
    site.lookout("get", DETECTED, "--version", result["version"], "-o", "old")
    assert sha256((site.root / "old").read_bytes()) == result["sha256"]
    store = site.store
    store.connection.delete(store.full("threat-detect"), DETECTED.partition("/")[2], result["version"])
    gone = site.lookout("history", DETECTED, "--json").lines[-1]
    assert (gone["version"], gone["kept"], gone["run"]) == (result["version"], False, result["run"])


def test_datums_are_invalidated_and_retried(site: Site) -> None:
    assert site.lookout("datums", "invalidate", "validate", THREAT, "--json").json == {"marked": 1}
    (listed,) = site.lookout("datums", "list", "--stage", "validate", "--prefix", THREAT, "--json").lines
    assert listed["waiting"]
    assert site.work()["stages"]["validate"]["success"] == 1
    assert site.lookout("datums", "retry", "--json").json == {"marked": 0}


def test_naming_a_folder_is_refused_where_the_bucket_is_the_source(both: Both) -> None:
    site = both.site
    assert "lookout upload" in site.refused("run", "photos")
    assert "LOOKOUT_STORE" not in site.refused("run", env={"LOOKOUT_STORE": "s3+http://127.0.0.1:1/"}, code=2)


# --- objects ---------------------------------------------------------------------------------------------------------


def test_buckets_and_their_objects_are_listed(both: Both) -> None:
    site = both.site
    places = site.lookout("ls", "--json").json
    assert [(place["bucket"], place["exists"]) for place in places] == [(bucket, True) for bucket in BUCKETS]
    found = site.lookout("ls", f"images/{THREAT[:12]}", "--json").lines
    assert [(item["bucket"], item["key"], item["size"]) for item in found] == [
        ("images", THREAT, (PHOTOS / THREAT).stat().st_size)
    ]
    assert site.lookout("ls", "images/nobody", "--json").lines == []
    other = {"LOOKOUT_STORE": site.environment["LOOKOUT_STORE"] + "other-"}
    assert "run `lookout init`" in site.refused("ls", "images", env=other, code=75)
    assert {place["exists"] for place in site.lookout("ls", "--json", env=other).json} == {False}


def test_an_object_is_read_to_a_file_or_to_stdout_but_not_to_a_terminal(both: Both) -> None:
    site = both.site
    site.lookout("get", DETECTED, "-o", "out.jpg")
    data = site.objects()[DETECTED]
    assert (site.root / "out.jpg").read_bytes() == data
    site.lookout("get", f"images/{THREAT}", "-o", "out.jpg")
    assert (site.root / "out.jpg").read_bytes() == (PHOTOS / THREAT).read_bytes()
    text = DETECTED.replace(".jpg", ".json")
    assert json.loads(site.lookout("get", text).out) == json.loads(site.lookout("get", text, "-o", "-").out)
    assert "cannot be written" in site.refused("get", DETECTED, "-o", "no/such/folder.jpg")
    assert sorted(path.name for path in site.root.glob(".out*")) == []


def test_readers_believe_the_ledger_and_not_what_lies_on_top(site: Site) -> None:
    """A late PUT of an engine that lost its claim: visible under the plain key, named by no record."""
    right = site.objects()[DETECTED]
    late = site.store.put(*DETECTED.split("/", 1), b"late", "image/jpeg")
    site.lookout("get", DETECTED, "-o", "out")
    assert (site.root / "out").read_bytes() == right
    top, named = site.lookout("history", DETECTED, "--json").lines
    assert (top["version"], top["visible"], top["named"], top["datum"]) == (late.version, True, False, None)
    assert (named["visible"], named["named"], named["sha256"]) == (False, True, sha256(right))
    (live,) = site.lookout("datums", "list", "--stage", "threat-detect", "--prefix", THREAT, "--json").lines
    assert (named["datum"], named["run"]) == (live["hash"], live["run"])
    for version in (late.version, sha256(b"late")):
        assert site.lookout("get", DETECTED, "--version", version).out == "late"
    assert "no version" in site.refused("get", DETECTED, "--version", "11111111-1111-1111-1111-111111111111")


def test_who_has_no_ledger_can_look_at_photographs(both: Both) -> None:
    site = both.site
    without_ledger = {"LOOKOUT_LEDGER": "etcd://127.0.0.1:1"}
    found = site.lookout("ls", "images", "--json", env=without_ledger).lines
    assert [item["key"] for item in found] == sorted(photo.name for photo in PHOTOS.iterdir())
    site.lookout("get", f"images/{THREAT}", "-o", "out.jpg", env=without_ledger)
    assert (site.root / "out.jpg").read_bytes() == (PHOTOS / THREAT).read_bytes()
