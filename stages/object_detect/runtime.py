"""ONNX Runtime with its telemetry off: left alone, it sends events about its use to its maker, from the import on.

It reads the environment when it is loaded, so whoever needs it imports it from here.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort  # type: ignore[import-untyped]

__all__ = ["ort"]
