"""Devices files: refusals with their place, the schema, and which parts a picture depends on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from lookout.domain.identity import digest, sha256
from lookout.domain.pipeline import Accepted, Refused, Run
from lookout.domain.records import LoadedReference, ObjectRef, Reference
from stages.camera_names.presets import PRESETS
from stages.validate.devices_file import PRESETS_EDITION, ROLE, accept, schema, select
from stages.validate.limits import CHANGEABLE, MOST_PIXELS
from tests.validate.jpeg_maker import photo, prepare_with, reason_of, with_restarts, work

PAGE = (Path(__file__).parents[2] / "docs" / "names.md").read_text(encoding="utf-8")
EXAMPLE = json.loads(PAGE.split("```json\n")[1].split("```")[0])
FILE = "devices.json"


def refusal(document: object) -> str:
    (answer,) = accept({FILE: json.dumps(document).encode()})
    assert isinstance(answer, Refused)
    return answer.reason


def in_force(document: object) -> list[Reference]:
    found = []
    for unit in accept({FILE: json.dumps(document).encode()}):
        assert isinstance(unit, Accepted)
        files = {
            role: ObjectRef(bucket="devices", key=f"{unit.name}/{role}", sha256=sha256(data), size=len(data))
            for role, data in unit.files.items()
        }
        found.append(Reference(bucket="devices", name=unit.name, files=files, meta=unit.meta))
    return found


def kinds(references: list[Reference], key: str) -> list[str]:
    return sorted(one.name.partition("/")[2].partition("-")[0] for one in select(references)(key, "-/-"))


def test_the_example_of_the_page_is_accepted_with_a_part_for_each_thing() -> None:
    names = [unit.name for unit in in_force(EXAMPLE)]
    assert names[0] == FILE
    parts = [name.partition("/")[2].partition("-")[0] for name in names[1:]]
    assert parts == ["entry"] * len(EXAMPLE["names"]) + ["zone", "pictures", "device", "device"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"names": {}}, "devices.json: expected a list for names"),
        ({"cameras": {}}, "unknown name 'cameras'"),
        ({"names": [{"pattern": "{device}.jpg"}]}, "names[0]"),
        ({"devices": {"x": {"zone": "Mars"}}}, "devices['x']: 'Mars' is not a time zone"),
        ({"devices": {"x": {"clock": [{}]}}}, "devices['x']: clock[0]: expected one kind of correction"),
        ({"devices": {"x": {"clock": [{"written": "2024-01-01Z", "true": "2024"}]}}}, "clock[0]: written"),
        (
            {"devices": {"x": {"clock": [{"from": "2024-02-01", "until": "2024-01-01", "void": True}]}}},
            "not before until",
        ),
        ({"devices": {"x": {"clock": [{"void": False}]}}}, "expected true"),
        ({"devices": {"x": {"clock": [{"drift": []}]}}}, "expected two pairs"),
        ({"devices": {"x": {"pictures": {"max_pixel": 1}}}}, "devices['x']: pictures: unknown name 'max_pixel'"),
        ({"pictures": {"min_width_px": 0}}, "pictures: min_width_px"),
        ({"names": [{"pattern": "{time:%s}.jpg", "device_from": ["Lens"]}]}, "'Lens' is not an EXIF tag"),
        ({"names": [{"pattern": "{device}_{time:%s}.jpg", "device_from": ["Model"]}]}, "named twice"),
    ],
)
def test_a_refusal_names_the_place(document: object, said: str) -> None:
    assert said in refusal(document)


def test_of_two_files_none_is_taken() -> None:
    answers = accept({"a.json": b"{}", "b.json": b"{}"})
    assert [answer.name for answer in answers if isinstance(answer, Refused)] == ["a.json", "b.json"]


def test_a_picture_depends_on_its_entry_its_zone_and_its_device_only() -> None:
    references = in_force(EXAMPLE)
    assert kinds(references, "192.168.1.64_01_20190306121007711_MOTION_DETECTION.jpg") == [
        "device",
        "entry",
        "pictures",
        "zone",
    ]
    assert kinds(references, "porch_1763798400.jpg") == ["pictures"]
    assert kinds(references, "yard_1763798400.jpg") == ["device", "pictures"]
    assert kinds(references, "what.jpg").count("entry") == len(EXAMPLE["names"])


def test_a_change_of_one_device_changes_no_other_part() -> None:
    changed = json.loads(json.dumps(EXAMPLE))
    changed["devices"]["yard"]["zone"] = "UTC"
    before, after = ({unit.name for unit in in_force(document)} for document in (EXAMPLE, changed))
    assert {name.partition("-")[0] for name in before ^ after} == {f"{FILE}/device"}


def test_among_the_pictures_of_fifty_devices_only_those_of_the_changed_one_depend_on_other_parts() -> None:
    devices = {f"cam{number}": {"zone": "UTC"} for number in range(50)}
    document = {"names": [{"preset": "reolink"}, {"preset": "motion"}], "zone": "Europe/Vienna", "devices": devices}
    changed = {**document, "devices": {**devices, "cam7": {"zone": "Asia/Tokyo"}}}
    before, after = (select(in_force(one)) for one in (document, changed))
    keys = [
        f"cam{number % 50}_202511220{number // 3600}{number // 60 % 60:02}{number % 60:02}.jpg"
        for number in range(5000)
    ]
    other = [key for key in keys if {one.name for one in before(key, "-/-")} != {one.name for one in after(key, "-/-")}]
    assert len(other) == 100
    assert {key.partition("_")[0] for key in other} == {"cam7"}


def test_an_entry_put_in_front_changes_no_other_part() -> None:
    more = {**EXAMPLE, "names": [{"pattern": "*.tmp.jpg", "ignore": True}, *EXAMPLE["names"]]}
    assert {unit.name for unit in in_force(EXAMPLE)} < {unit.name for unit in in_force(more)}


def test_the_example_of_the_page_and_the_presets_fit_the_schema() -> None:
    validator = Draft202012Validator(json.loads(schema()))
    for document in (EXAMPLE, {"names": [{"preset": name} for name in PRESETS]}, {}):
        assert list(validator.iter_errors(document)) == []
    assert list(validator.iter_errors({"devices": {"x": {"clock": [{"written": "2024"}]}}}))


def test_the_schema_knows_what_the_reader_knows() -> None:
    tree = json.loads(schema())
    definitions = tree["$defs"]
    assert set(tree["properties"]) == {"$schema", "names", "zone", "pictures", "devices"}
    for properties, document in (
        (definitions["entry"]["properties"], lambda name: {"names": [{"pattern": "x{device}_{time:%s}", name: []}]}),
        (definitions["device"]["properties"], lambda name: {"devices": {"x": {name: 5}}}),
        (definitions["pictures"]["properties"], lambda name: {"pictures": {name: "x"}}),
    ):
        if properties is definitions["pictures"]["properties"]:
            assert tuple(properties) == CHANGEABLE
            assert properties["max_pixels"]["maximum"] == MOST_PIXELS
        for name in properties:
            answers = accept({FILE: json.dumps(document(name)).encode()})
            assert all("unknown name" not in getattr(answer, "reason", "") for answer in answers), name


def test_presets_have_the_digest_of_their_edition() -> None:
    """Raise PRESETS_EDITION when this fails: files with presets are accepted anew then."""
    entries = {name: [dict(entry) for entry in preset.entries] for name, preset in PRESETS.items()}
    assert (PRESETS_EDITION, digest("presets/1", entries)[:16]) == (1, "7767589ad8ef5bd1")


def test_a_picture_that_is_known_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    references = [unit for unit in in_force({"devices": {"porch": {"zone": "UTC"}}}) if "/" in unit.name]
    loaded = [LoadedReference(reference=one, data={ROLE: json.dumps(one.meta["part"]).encode()}) for one in references]
    first = prepare_with(loaded)(work(photo()))

    def never(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("stages.validate.core._check_bytes", never)
    assert prepare_with(loaded)(work(photo(), known=first.facts)) == first
    with pytest.raises(AssertionError, match="decoded again"):
        prepare_with(loaded)(work(photo(), known={**first.facts, "limits": {"max_pixels": 5}}))


def run_under(document: object) -> Run:
    return prepare_with(
        [
            LoadedReference(reference=one, data={ROLE: json.dumps(one.meta["part"]).encode()})
            for one in in_force(document)
            if "/" in one.name
        ]
    )


def test_stray_bytes_and_one_channel_are_allowed_by_device() -> None:
    run = run_under({"devices": {"porch": {"pictures": {"max_stray_bytes": 12, "accept_gray": False}}}})
    webcam, gray = with_restarts(), photo("gate_1763798760.jpg")
    at = webcam.index(b"\xff\xd1")
    webcam = webcam[:at] + b"\x12\x34\x56" * 4 + webcam[at:]
    found = [
        reason_of(run(work(data, f"{name}_1763798400.jpg"))) for data in (webcam, gray) for name in ("porch", "yard")
    ]
    assert found == [None, "damaged", "gray", None]


def test_limits_by_device_hold_for_its_pictures_only() -> None:
    document = {"pictures": {"min_width_px": 5}, "devices": {"porch": {"pictures": {"min_width_px": 4000}}}}
    run = run_under(document)
    assert reason_of(run(work(photo(), "porch_1763798400.jpg"))) == "too-small"
    assert reason_of(run(work(photo(), "yard_1763798400.jpg"))) is None
