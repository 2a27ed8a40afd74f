"""Whatever comes in, a Result comes out, and what is accepted can be read by the stages behind."""

import json

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.imaging.annotate import decode_bgr
from stages.validate.foreign_files import is_foreign
from stages.validate.reasons import Flag, Reason
from tests.validate.jpeg_maker import (
    END,
    encoded,
    photo,
    samsung_trailer,
    scene,
    unusual,
    validate,
    with_restarts,
    without_tables,
)

SEEDS = (
    encoded(),
    encoded(scene(64, 64), QUALITY=30, OPTIMIZE=1),
    encoded(PROGRESSIVE=1),
    with_restarts(),
    without_tables(),
    photo("yard_1763798460.jpg"),
    photo()[:-2],
    photo()[:-2] + samsung_trailer(),
    encoded(np.ascontiguousarray(scene()[:, :, :1]), RST_INTERVAL=5),
    unusual(),
)
KEYS = (
    st.just("porch_1763798400.jpg")
    | st.text(max_size=40)
    | st.text(max_size=20).map(lambda t: t + "/porch_1763798400.jpg")
)


EDITS = st.tuples(
    st.integers(0, 700) | st.integers(0, 2**17),
    st.binary(max_size=12) | st.sampled_from([bytes(40), b"\xff" * 9, b"\xff\xd8", END, b"\xff\xd3"]),
    st.sampled_from([None, None, 0, 1, 200]),
)
"""Where to write (taken modulo the length), what, and over how many bytes; None is over as many as are written."""


def mutated(seed, edits, half):
    data = bytearray(SEEDS[seed])
    for at, extra, drop in edits:
        at %= len(data)
        data[at : at + (len(extra) if drop is None else drop)] = extra
    return bytes(data[: len(data) // 2] if half else data)


def check(data, key="porch_1763798400.jpg"):
    result = validate(data, key)
    if result.label is None:
        (output,) = result.outputs
        assert output.key == f"valid/{key}"
        assert output.data == data
        assert set(result.facts["flags"]) <= set(Flag)
        assert result.counts == {"pictures": 1, "valid": 1}
        size = (result.facts["height"], result.facts["width"])
        assert decode_bgr(data).shape in ((*size, 3), (*size[::-1], 3))
    elif result.label == "ignored":
        assert is_foreign(key, data)
        assert not result.outputs
        assert not result.counts
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
@given(st.integers(0, len(SEEDS) - 1), st.lists(EDITS, min_size=1, max_size=4), st.sampled_from([False] * 5 + [True]))
def test_any_mutated_picture_gives_a_result(seed, edits, half):
    check(mutated(seed, edits, half))


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff", encoded()[:160], encoded()[:700]]),
    KEYS,
)
def test_any_bytes_under_any_key_give_a_result(data, start, key):
    check(start + data, key)
