"""Search for tensors of an ONNX model that are stored outside of its file, without loading it.

onnxruntime reads such a tensor from a path that the model names, relative to the working directory when the model comes
as bytes: a model could have any file come out as scores. It has no option that forbids this. So the protobuf is walked
first: only the fields on the way to a tensor are entered, and the bytes of tensors are stepped over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lookout.domain.errors import InputRejected

_VARINT: Final = 0
_FIXED64: Final = 1
_LENGTH: Final = 2
_FIXED32: Final = 5
_MAX_DEPTH: Final = 100
"""As in protobuf itself, which refuses messages that are nested deeper."""
_DATA_LOCATION: Final = 14
_EXTERNAL_DATA: Final = 13

_TENSOR: Final = "TensorProto"
_ENTERED: Final[dict[str, dict[int, str]]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: _TENSOR, 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: _TENSOR,
        6: "GraphProto",
        10: _TENSOR,
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: _TENSOR, 2: _TENSOR},
}
"""By message, the numbers of the fields that lead to a tensor, and what they hold. The numbers are those of onnx.proto,
and never change."""


def refuse_external_data(file: str, weights: bytes) -> None:
    """Raise InputRejected for a model with a tensor that is stored outside of its file, or for what is no protobuf."""
    try:
        found = _has_external(memoryview(weights), "ModelProto", _MAX_DEPTH)
    except ValueError as exc:
        raise InputRejected(f"cannot be opened as an ONNX model: {exc}", file) from exc
    if found:
        hint = "save it with all weights inside, in one file"
        raise InputRejected("the model has weights outside of its file, and no other file is read", file, hint)


def _has_external(message: memoryview, kind: str, depth: int) -> bool:
    """Walk through a message. Raises ValueError when it is cut off or malformed."""
    if depth == 0:
        raise ValueError("its messages are nested too deeply")
    for number, value in _fields(message):
        if kind == _TENSOR:
            if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                return True
        elif (inner := _ENTERED[kind].get(number)) is not None:
            if isinstance(value, int):
                raise ValueError(f"field {number} of {kind} is no message")
            if _has_external(value, inner, depth - 1):
                return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Field numbers of a message with their values: bytes, or the number that a varint or fixed field holds."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if not 8 <= tag < 1 << 32:  # protobuf cuts a longer one to 32 bits, and reads it as another field
            raise ValueError("it has a tag that no field has")
        wire = tag & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if wire == _LENGTH:
            size, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"it has a field of the unknown kind {wire}")
        if size > len(message) - at:
            raise ValueError("it is cut off")
        part = message[at : at + size]
        yield tag >> 3, part if wire == _LENGTH else int.from_bytes(part, "little")
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number at this place, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it is cut off")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it has a number of more than ten bytes")
