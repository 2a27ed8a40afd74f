"""Weights outside of a model's file: found wherever a tensor can be, and refused before onnxruntime sees the model."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lookout.domain.errors import InputRejected
from lookout.domain.identity import sha256
from lookout.domain.pipeline import Refused
from stages.object_detect.external_weights import refuse_external_data
from stages.object_detect.manifest import accept
from stages.object_detect.runtime import ort
from tests.object_detect.models import FIXTURES, ROOT, manifest_bytes

SHIPPED = ROOT / "models" / "ssdlite_mobilenet_v2_coco.onnx"


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | str | int) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def external(location: str, name: str = "w") -> bytes:
    """A TensorProto: four floats, to be read from a file."""
    entries = [field(1, key) + field(2, value) for key, value in (("location", location), ("length", "16"))]
    return field(1, 4) + field(2, 1) + field(8, name) + b"".join(field(13, entry) for entry in entries) + field(14, 1)


def inline(name: str = "w") -> bytes:
    return field(1, 4) + field(2, 1) + field(8, name) + field(9, bytes(16))


def value_info(name: str) -> bytes:
    shape = field(1, field(1, 4))
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def node(kind: str, inputs: list[str], output: str, *attributes: bytes) -> bytes:
    parts = [field(1, name) for name in inputs] + [field(2, output), field(4, kind)]
    return b"".join(parts + [field(5, attribute) for attribute in attributes])


def graph(*nodes: bytes, weights: bytes = b"", output: str = "out") -> bytes:
    body = b"".join(field(1, one) for one in nodes) + field(2, "g")
    return body + (field(5, weights) if weights else b"") + field(12, value_info(output))


def model(body: bytes, more: bytes = b"") -> bytes:
    return field(1, 8) + field(7, body) + field(8, field(1, "") + field(2, 17)) + more


def branch(tensor: bytes) -> bytes:
    """The body of an If: a constant."""
    return graph(node("Constant", [], "out", constant(tensor)))


def constant(tensor: bytes) -> bytes:
    return field(1, "value") + field(5, tensor) + field(20, 4)


def with_if(tensor: bytes) -> bytes:
    parts = [field(1, name) + field(6, branch(tensor)) + field(20, 5) for name in ("then_branch", "else_branch")]
    condition = field(1, 1) + field(2, 9) + field(8, "c") + field(9, b"\1")
    return model(graph(node("If", ["c"], "out", *parts), weights=condition))


PLACES = {
    "an initializer": lambda tensor: model(graph(node("Identity", ["w"], "out"), weights=tensor)),
    "a constant": lambda tensor: model(graph(node("Constant", [], "out", constant(tensor)))),
    "a branch": with_if,
    "a list of tensors": lambda tensor: model(graph(node("X", [], "out", field(1, "a") + field(10, tensor)))),
    "a list of graphs": lambda tensor: model(
        graph(node("X", [], "out", field(1, "a") + field(11, graph(weights=tensor))))
    ),
    "a sparse initializer": lambda tensor: model(graph() + field(15, field(1, tensor))),
    "the indices of one": lambda tensor: model(graph() + field(15, field(2, tensor))),
    "a sparse attribute": lambda tensor: model(
        graph(node("X", [], "out", field(1, "a") + field(22, field(1, tensor))))
    ),
    "sparse attributes": lambda tensor: model(graph(node("X", [], "out", field(1, "a") + field(23, field(1, tensor))))),
    "a function": lambda tensor: model(graph(), field(25, field(7, node("Constant", [], "out", constant(tensor))))),
    "a function's default": lambda tensor: model(graph(), field(25, field(11, constant(tensor)))),
    "training": lambda tensor: model(graph(), field(20, field(1, graph(weights=tensor)))),
    "a step of training": lambda tensor: model(graph(), field(20, field(2, graph(weights=tensor)))),
}


@pytest.mark.parametrize("location", ["canary", "../canary", "/etc/passwd"])
@pytest.mark.parametrize("place", PLACES)
def test_weights_outside_of_the_file_are_refused_wherever_they_are_named(place: str, location: str) -> None:
    with pytest.raises(InputRejected, match=r"model\.onnx: the model has weights outside of its file"):
        refuse_external_data("model.onnx", PLACES[place](external(location)))


@pytest.mark.parametrize("place", PLACES)
def test_the_same_weights_inside_are_accepted(place: str) -> None:
    refuse_external_data("model.onnx", PLACES[place](inline()))


@pytest.mark.parametrize("place", ["an initializer", "a constant", "a branch"])
def test_the_models_here_are_such_as_onnxruntime_opens(place: str) -> None:
    session = ort.InferenceSession(PLACES[place](inline()), providers=["CPUExecutionProvider"])
    assert session.run(None, {})[0].tolist() == [0, 0, 0, 0]


def test_a_model_with_weights_outside_is_not_accepted() -> None:
    weights = PLACES["an initializer"](external("canary"))
    (refused,) = accept({"m.json": manifest_bytes("spot", sha256=sha256(weights)), "m.onnx": weights})
    assert isinstance(refused, Refused)
    assert "weights outside of its file" in refused.reason


def test_a_tensor_that_only_names_an_entry_is_refused_too() -> None:
    bare = field(1, 4) + field(2, 1) + field(8, "w") + field(13, field(1, "location") + field(2, "canary"))
    with pytest.raises(InputRejected, match="outside of its file"):
        refuse_external_data("m", PLACES["an initializer"](bare))


@pytest.mark.parametrize("path", [SHIPPED, *sorted(FIXTURES.glob("*.onnx"))], ids=lambda path: path.name)
def test_real_models_are_accepted_in_no_time(path: Path) -> None:
    weights = path.read_bytes()
    began_s = time.process_time()
    refuse_external_data(path.name, weights)
    assert time.process_time() - began_s < 1


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (b"\x3a\x7f", "cut off"),
        (b"\x3a", "cut off"),
        (b"\xff" * 11, "ten bytes"),
        (b"\x3b", "unknown kind"),
        (b"\x38\x01", "no message"),
        (field(7, b"\x0b"), "unknown kind"),
    ],
)
def test_what_is_no_protobuf_is_refused(weights: bytes, said: str) -> None:
    with pytest.raises(InputRejected, match=said):
        refuse_external_data("m", weights)


@pytest.mark.parametrize("beyond", [1 << 32, 1 << 35, 1 << 63, (1 << 64) - (1 << 32)])
def test_a_tag_that_protobuf_cuts_to_that_of_a_tensor_is_refused(beyond: int) -> None:
    tensor = external("canary")
    disguised = varint((5 << 3 | 2) + beyond) + varint(len(tensor)) + tensor
    with pytest.raises(InputRejected, match="a tag that no field has"):
        refuse_external_data("m", model(graph(node("Identity", ["w"], "out")) + disguised))


@pytest.mark.parametrize("tag", range(8))
def test_a_field_without_a_number_is_refused(tag: int) -> None:
    with pytest.raises(InputRejected, match="a tag that no field has"):
        refuse_external_data("m", varint(tag) + b"\0" * 8)


def test_graphs_in_graphs_without_end_are_refused() -> None:
    body = graph()
    for _ in range(200):
        body = graph(node("X", [], "out", field(1, "a") + field(6, body)))
    with pytest.raises(InputRejected, match="too deeply"):
        refuse_external_data("m", model(body))


def test_any_bytes_are_accepted_or_refused() -> None:
    chance = random.Random(11)
    whole = bytearray(PLACES["a branch"](external("canary")))
    for _ in range(3000):
        bad = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        with suppress(InputRejected):
            refuse_external_data("m", bytes(bad[: chance.randint(0, len(bad))]))
