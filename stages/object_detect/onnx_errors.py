"""Sentences for errors of ONNX Runtime: its messages begin with a place in its source and end with the cause."""

from __future__ import annotations

import re
from typing import Final

from stages.object_detect.runtime import ort

_LONGEST: Final = 300
_CODE: Final = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PLACE: Final = re.compile(r"^(?:Exception during \w+: )?/\S+:\d+ ")
_IR: Final = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")
_OPSET: Final = re.compile(r"Opset (\d+) is under development.*support for domain (\S+) is till opset (\d+)", re.DOTALL)
_REMEDY: Final = "export it again with an older opset, as 17, or use a newer onnxruntime"


def cause_of(error: Exception) -> tuple[str, str]:
    """Return the cause in one line, and the remedy where it is known. A long message keeps its end."""
    text = " ".join(str(error).split()) or type(error).__name__
    version = f"onnxruntime {ort.__version__}"
    if found := _IR.search(text):
        return f"its IR version {found[1]} is too new: {version} reads those up to {found[2]}", _REMEDY
    if found := _OPSET.search(text):
        return f"its opset {found[1]} of {found[2]} is too new: {version} knows those up to {found[3]}", _REMEDY
    text = _CODE.sub("", text)
    text = _without_place(text)
    return text if len(text) <= _LONGEST else f"... {text[-_LONGEST:].partition(' ')[2]}", ""


def _without_place(text: str) -> str:
    """Drop file, line and signature from the beginning: the cause follows the parenthesis that closes the signature."""
    rest = _PLACE.sub("", text)
    start = rest.find("(")
    if rest == text or start < 0:
        return rest
    depth = 0
    for at in range(start, len(rest)):
        depth += {"(": 1, ")": -1}.get(rest[at], 0)
        if depth == 0:
            return rest[at + 1 :].strip() or rest
    return rest
