"""ONNX Runtime with its telemetry off, and the execution provider that this machine is to use.

Left alone, it sends events about its use to its maker, from the import on; it reads the environment when it is loaded,
so whoever needs it imports it from here. The provider is a property of the machine, and no part of a recipe: worker
processes find it in the environment that they inherit from the entry point, which checks its name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort  # type: ignore[import-untyped]

from lookout.domain.errors import InputRejected

__all__ = ["find_provider", "ort"]

_VARIABLE: Final = "LOOKOUT_PROVIDER"
_PROVIDERS: Final = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}


def find_provider(environment: Mapping[str, str] = os.environ) -> str:
    """Return the name that ONNX Runtime has for the provider of ``LOOKOUT_PROVIDER``, ``cpu`` by default. Raises
    InputRejected for one that is unknown, or that this build of ONNX Runtime does not have."""
    name = environment.get(_VARIABLE) or "cpu"
    provider = _PROVIDERS.get(name)
    if provider is None:
        raise InputRejected(f"expected {', '.join(_PROVIDERS)}, got {name!r}", _VARIABLE)
    there = ort.get_available_providers()
    if provider not in there:
        what = f"this onnxruntime {ort.__version__} has no {provider}, only {', '.join(there)}"
        raise InputRejected(what, _VARIABLE, "install a build that has it, see docs/models.md")
    return provider
