import json
import time

import numpy as np
import pytest

from lookout.domain.errors import InputRejected
from lookout.domain.records import LoadedReference, Reference
from stages.imaging.opencv import MAX_PICTURE_PIXELS
from stages.pipeline import PIPELINE
from stages.validate.core import prepare
from stages.validate.limits import MOST_PIXELS
from tests.validate.jpeg_maker import (
    GOOD_PHOTOS,
    KEY,
    PHOTOS,
    SEEN_AT_S,
    encoded,
    photo,
    reason_of,
    resized_header,
    scene,
    validate,
    work,
)


@pytest.mark.parametrize("name", GOOD_PHOTOS)
def test_a_good_photograph_is_kept_byte_for_byte(name):
    result = validate(photo(name), name)
    assert [(out.key, out.content_type) for out in result.outputs] == [(f"valid/{name}", "image/jpeg")]
    assert result.outputs[0].data == photo(name)
    assert result.counts == {"pictures": 1, "valid": 1}
    assert result.label is None
    assert result.at_s == int(name.partition("_")[2][:10])
    assert result.facts["flags"] == []
    assert result.alerts == ()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("IMG_0001.jpg", "name"), ("yard_1763798700.jpg", "truncated")],
)
def test_the_two_bad_samples_are_refused(name, reason):
    assert reason_of(validate(photo(name), name)) == reason


def test_the_sample_of_one_channel_is_accepted_with_a_flag_unless_the_limits_say_otherwise():
    data = photo("gate_1763798760.jpg")
    assert validate(data).facts == {"flags": ["grey-looking"], "width": 512, "height": 512}
    assert reason_of(validate(data, params={"accept_gray": False})) == "gray"


def test_every_sample_is_accounted_for():
    assert len(GOOD_PHOTOS) == 7
    assert len(list(PHOTOS.glob("*.jpg"))) == 10


def test_a_refused_picture_is_kept_with_its_reason():
    data = photo("gate_1763798760.jpg")
    result = validate(data, "a/gate_1763798760.jpg", {"accept_gray": False})
    picture, report = result.outputs
    assert (picture.key, picture.data) == ("invalid/a/gate_1763798760.jpg", data)
    assert (report.key, report.content_type) == ("invalid/a/gate_1763798760.jpg.json", "application/json")
    assert json.loads(report.data) == {
        "key": "a/gate_1763798760.jpg",
        "picture": "invalid/a/gate_1763798760.jpg",
        "reason": "gray",
        "sentence": result.facts["sentence"],
        "sha256": work(data).inputs["picture"].ref.sha256,
        "size": len(data),
    }
    assert result.counts == {"pictures": 1, "invalid": 1, "invalid:gray": 1}
    assert result.label == "invalid: gray"
    assert result.at_s == 1763798760


def test_two_runs_over_the_same_bytes_give_the_same_bytes_whenever_they_were_seen():
    data = photo("yard_1763798700.jpg")
    assert validate(data, observed_at_s=SEEN_AT_S) == validate(data, observed_at_s=SEEN_AT_S + 5_000)


@pytest.mark.parametrize(
    "key",
    [
        "IMG_0001.jpg",
        "",
        "porch.jpg",
        "porch_17637984.jpg",
        "porch_1763798400.png",
        "porch_1763798400.jpg\n",
        "porch_\u0661\u0667\u0666\u0663\u0667\u0669\u0668\u0664\u0660\u0660.jpg",
        f"{'d' * 1000}_1763798400.jpg",
        "../porch_1763798400.jpg",
        "/porch_1763798400.jpg",
        "a//porch_1763798400.jpg",
        ".hidden/porch_1763798400.jpg",
        "a\nb/porch_1763798400.jpg",
        "\u202egpj/porch_1763798400.jpg",
        "\udcff/porch_1763798400.jpg",
        f"{'f' * 201}/porch_1763798400.jpg",
        "/".join(["f" * 100] * 9) + "/porch_1763798400.jpg",
    ],
)
def test_a_name_that_says_nothing_or_cannot_be_kept_is_refused(key):
    result = validate(photo(), key)
    assert reason_of(result) == "name"
    assert result.outputs[0].data == photo()
    assert result.facts["sentence"].isprintable()
    assert json.loads(result.outputs[1].data)["key"] == key


@pytest.mark.parametrize(
    "key",
    [
        "porch_1763798400.JPEG",
        "porch_1763798400123.jpg",
        "\u7384\u95a2/1 2/porch_1763798400.jpg",
        "front_door_1763798400.jpg",
        "\u7384\u95a2_1763798400.jpg",
        "Front Door_1763798400.jpg",
    ],
)
def test_other_good_names_are_accepted(key):
    result = validate(photo(), key)
    assert result.outputs[0].key == f"valid/{key}"
    assert int(result.at_s) == 1763798400


def test_a_folder_that_cannot_be_kept_is_named_in_the_sentence():
    result = validate(photo(), "x/..secret/porch_1763798400.jpg")
    assert 'its part "..secret" starts with a dot' in result.facts["sentence"]


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [
        ("0978307199", "time-too-early"),
        ("0978307200", None),
        ("0000000000", "time-too-early"),
        (f"{int(SEEN_AT_S) + 86_400}", None),
        (f"{int(SEEN_AT_S) + 86_401}", "time-in-future"),
        ("9999999999", "time-in-future"),
        ("9999999999999", "time-in-future"),
    ],
)
def test_the_time_in_the_name_must_be_credible(stamp, reason):
    result = validate(photo(), f"porch_{stamp}.jpg")
    assert reason_of(result) == reason
    assert result.at_s == (None if reason else int(stamp))


def test_what_was_never_observed_has_no_future():
    assert reason_of(validate(photo(), "porch_9999999999.jpg", observed_at_s=None)) is None


def test_an_empty_file_is_refused_and_kept():
    result = validate(b"")
    assert reason_of(result) == "empty"
    assert [out.key for out in result.outputs] == [f"invalid/{KEY}", f"invalid/{KEY}.json"]


def test_a_picture_larger_than_the_limit_that_was_read_whole_is_kept():
    params = {"max_bytes": len(photo()) - 1}
    result = validate(photo(), params=params)
    assert reason_of(result) == "too-large"
    assert len(result.outputs) == 2
    assert reason_of(validate(photo(), params={"max_bytes": len(photo())})) is None


@pytest.mark.parametrize(("key", "reason"), [(KEY, "too-large"), ("what.jpg", "name")])
def test_of_a_picture_that_was_read_in_part_only_the_reason_is_written(key, reason):
    result = validate(photo()[:1000], key, size=len(photo()), params={"max_bytes": 1000})
    assert [out.key for out in result.outputs] == [f"invalid/{key}.json"]
    report = json.loads(result.outputs[0].data)
    assert (report["reason"], report["picture"], report["sha256"], report["size"]) == (reason, None, None, len(photo()))


def test_of_a_picture_that_was_not_read_the_sentence_names_its_size_and_the_limit():
    result = validate(b"", size=33_000_000_000, params={"max_bytes": 1000})
    assert result.facts["sentence"] == "The file has 33000000000 bytes; at most 1000 are allowed."


def test_a_bomb_is_refused_by_its_header_in_no_time():
    bomb = resized_header(photo(), 30_000, 30_000) + bytes(14_000_000)
    run, item = prepare({}, ()), work(bomb)
    took_s = []
    for _ in range(5):
        start = time.perf_counter()
        result = run(item)
        took_s.append(time.perf_counter() - start)
    assert reason_of(result) == "too-many-pixels"
    assert "30000 x 30000" in result.facts["sentence"]
    assert min(took_s) < 0.01


@pytest.mark.parametrize(
    ("width", "height", "params", "reason"),
    [
        (64, 64, {}, None),
        (63, 64, {}, "too-small"),
        (64, 63, {}, "too-small"),
        (64, 64, {"max_pixels": 64 * 64}, None),
        (64, 72, {"max_pixels": 64 * 64}, "too-many-pixels"),
        (16, 16, {"min_width_px": 1, "min_height_px": 1}, None),
    ],
)
def test_size_limits_are_inclusive(width, height, params, reason):
    assert reason_of(validate(encoded(scene(128, 128)[:height, :width]), params=params)) == reason


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (8160, 6144, "truncated"),
        (9280, 6944, "truncated"),
        (12_032, 9024, "truncated"),
        (12_000, 10_000, "truncated"),
        (12_001, 10_000, "too-many-pixels"),
    ],
)
def test_phones_of_up_to_108_megapixels_are_within_the_limit(width, height, reason):
    header = resized_header(photo(), width, height)[:1000]
    assert reason_of(validate(header)) == reason


@pytest.mark.parametrize("options", [{}, {"PROGRESSIVE": 1}])
def test_a_phone_picture_of_50_megapixels_is_accepted(options):
    result = validate(encoded(np.full((6144, 8160, 3), (200, 90, 30), np.uint8), **options))
    assert result.facts == {"flags": ["progressive"] if options else [], "width": 8160, "height": 6144}


def test_the_later_stages_decode_what_the_limits_can_allow():
    assert MOST_PIXELS == MAX_PICTURE_PIXELS


def test_cheaper_questions_are_asked_first():
    assert reason_of(validate(b"", "what.jpg")) == "name"
    assert reason_of(validate(photo("gate_1763798760.jpg")[:9000], params={"accept_gray": False})) == "gray"
    assert reason_of(validate(resized_header(photo(), 9, 9)[:9000])) == "too-small"


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_pixels": "many"}, "max_pixels"),
        ({"min_width_px": True}, "min_width_px"),
        ({"min_height_px": 64.0}, "min_height_px"),
        ({"earliest_s": -1}, "earliest_s"),
        ({"future_tolerance_s": None}, "future_tolerance_s"),
        ({"max_stray_bytes": -1}, "max_stray_bytes"),
        ({"max_pixels": MOST_PIXELS + 1}, "max_pixels"),
        ({"accept_gray": 1}, "accept_gray"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_named(params, named):
    with pytest.raises(InputRejected, match=f"parameter {named}"):
        prepare(params, ())


def test_references_are_refused():
    with pytest.raises(InputRejected):
        prepare({}, (LoadedReference(reference=Reference(bucket="model", name="m", files={}), data={}),))


def test_the_declared_stage_can_be_prepared():
    stage = PIPELINE.stage("validate")
    assert reason_of(prepare(stage.params, ())(work(photo()))) is None
