"""Acceptance of a model: one manifest with the weights that it names by their hash, after both were tried.

Receives the files of a model folder. JSON and ONNX files count; others (a README, a licence) are ignored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from lookout.domain.errors import InputRejected
from lookout.domain.pipeline import Accepted, Refused
from stages.object_detect.manifest_schema import HINT, Manifest, parse_manifest
from stages.object_detect.onnx_model import open_network

MANIFEST: Final = "manifest"
WEIGHTS: Final = "weights"
"""The roles of a model's two files."""

_FOREIGN: Final = {".pt", ".pth", ".pb", ".tflite", ".h5", ".keras", ".safetensors", ".caffemodel", ".engine"}


def accept(files: Mapping[str, bytes]) -> Sequence[Accepted | Refused]:
    """Return the model among the files (name -> bytes), or why there is none; at most one is accepted. Never raises for
    a bad file."""
    manifests: dict[str, Manifest] = {}
    refused: list[Refused] = []
    for name in sorted(files):
        if _ending(name) == ".json":
            try:
                manifests[name] = parse_manifest(name, files[name])
            except InputRejected as exc:
                refused.append(Refused(name=name, reason=str(exc)))
        elif _ending(name) in _FOREIGN:
            refused.append(Refused(name=name, reason=f"{name}: only models in ONNX form can be used ({HINT})"))
    weights = {
        hashlib.sha256(files[name]).hexdigest(): name
        for name in sorted(files, reverse=True)
        if _ending(name) == ".onnx"
    }
    if len(manifests) == sum(_ending(name) == ".json" for name in files):  # one that cannot be read may be theirs
        refused += _without_manifest(weights, manifests)
    if len(manifests) > 1:
        names = ", ".join(sorted(manifests))
        reason = f"one model can be in force, but there are {len(manifests)} manifests: {names}; leave one"
        return [*refused, *(Refused(name=name, reason=f"{name}: {reason}") for name in manifests)]
    return [*refused, *(_try(name, manifest, files, weights) for name, manifest in manifests.items())]


def _try(name: str, manifest: Manifest, files: Mapping[str, bytes], weights: Mapping[str, str]) -> Accepted | Refused:
    file = weights.get(manifest.sha256)
    if file is None:
        there = ", ".join(
            f"{found} has {digest[:12]}..." for digest, found in sorted(weights.items(), key=lambda w: w[1])
        )
        return Refused(
            name=name,
            reason=f"{name}: field sha256: waiting for the .onnx file with sha256 {manifest.sha256}; "
            + (f"it is not among those here: {there}" if there else "there is no .onnx file yet"),
        )
    try:
        open_network(file, manifest, files[file])
    except InputRejected as exc:
        return Refused(name=name, reason=f"{name}: {exc}")
    return Accepted(
        name=manifest.name,
        files={MANIFEST: files[name], WEIGHTS: files[file]},
        meta={
            "name": manifest.name,
            "sha256": manifest.sha256,
            "decoder": manifest.decoder,
            "license": manifest.license,
            "source": manifest.source,
            "threshold": manifest.threshold,
            "labels": list(manifest.labels),
            "class_ids": list(manifest.class_ids),
        },
    )


def _without_manifest(weights: Mapping[str, str], manifests: Mapping[str, Manifest]) -> list[Refused]:
    wanted = {manifest.sha256 for manifest in manifests.values()}
    return [
        Refused(
            name=name,
            reason=f"{name}: no manifest (.json) here names its sha256 {digest}; "
            "a model needs one that says how to feed and read it, see docs/models.md",
        )
        for digest, name in sorted(weights.items(), key=lambda item: item[1])
        if digest not in wanted
    ]


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
