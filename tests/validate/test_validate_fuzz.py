"""Whatever comes in, a Result comes out, and what is accepted can be read by the stages behind."""

import json

import cv2
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jpeg_maker import END, encoded, photo, scene, validate, with_restarts, without_tables

from stages.validate.reasons import Flag, Reason

SEEDS = (
    encoded(),
    encoded(scene(64, 64), QUALITY=30, OPTIMIZE=1),
    encoded(PROGRESSIVE=1),
    with_restarts(),
    without_tables(),
    photo("yard_1763798460.jpg"),
)
KEYS = (
    st.just("porch_1763798400.jpg")
    | st.text(max_size=40)
    | st.text(max_size=20).map(lambda t: t + "/porch_1763798400.jpg")
)


@st.composite
def mutated(draw):
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        in_header = draw(st.booleans())
        at = draw(st.integers(0, min(700, len(data) - 1) if in_header else len(data) - 1))
        extra = draw(st.binary(max_size=12) | st.sampled_from([bytes(40), b"\xff" * 9, b"\xff\xd8", END, b"\xff\xd3"]))
        drop = draw(st.sampled_from([0, len(extra), len(extra), 1, 200]))
        data[at : at + drop] = extra
    return bytes(data[: draw(st.sampled_from([len(data), len(data), len(data), len(data) // 2]))])


def check(data, key="porch_1763798400.jpg"):
    result = validate(data, key)
    if result.label is None:
        (output,) = result.outputs
        assert output.key == f"valid/{key}"
        assert output.data == data
        assert set(result.facts["flags"]) <= set(Flag)
        assert result.counts == {"pictures": 1, "valid": 1}
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        assert decoded is not None
        assert decoded.shape == (result.facts["height"], result.facts["width"], 3)
    else:
        picture, report = result.outputs
        assert picture.data == data
        assert report.key == f"{picture.key}.json"
        facts = json.loads(report.data)
        assert facts["reason"] in set(Reason)
        assert (facts["reason"], facts["sentence"], facts["key"]) == (
            result.facts["reason"], result.facts["sentence"], key,
        )  # fmt: skip
        assert result.label == f"invalid: {facts['reason']}"
        assert "{" not in facts["sentence"] or "{" in key


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_any_mutated_picture_gives_a_result(data):
    check(data)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff", encoded()[:160], encoded()[:700]]),
    KEYS,
)
def test_any_bytes_under_any_key_give_a_result(data, start, key):
    check(start + data, key)
