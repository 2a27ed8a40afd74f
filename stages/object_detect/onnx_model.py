"""An opened network that agrees with its manifest. The only module that speaks to ONNX Runtime.

Opening checks all that can be checked without a picture: the hash, that all weights are inside, the names, shapes and
types of what goes in and out, and a dry run on a black picture, decoded like any other.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lookout.domain.errors import InputRejected
from stages.object_detect.decoders import decode, output_names
from stages.object_detect.external_weights import refuse_external_data
from stages.object_detect.manifest_passes import AreaPass, PassSpec
from stages.object_detect.manifest_schema import HINT, Manifest
from stages.object_detect.onnx_errors import cause_of
from stages.object_detect.passes import area_input
from stages.object_detect.preprocess import make_input, place
from stages.object_detect.readings import Outputs, Size
from stages.object_detect.runtime import find_provider, ort
from stages.object_detect.yolo_decoders import END_TO_END_HINT

TENSOR_TYPES: Final = {"uint8": "tensor(uint8)", "float32": "tensor(float)", "float16": "tensor(float16)"}
_SILENT: Final = 4  # onnxruntime's severity "fatal": what goes wrong comes back as an exception, not on stderr
DRY_RUN_LIMIT_S: Final = 30.0
"""Longest time that a model may take for the black picture: one that never ends would hold up each picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A session with its manifest. Made by ``open_network``."""

    manifest: Manifest
    session: Any
    output_names: tuple[str, ...]
    provider: str
    """Name of the execution provider, as ONNX Runtime has it."""

    @property
    def runtime(self) -> Mapping[str, str]:
        """The program that computes, for the record: it is no part of any identity."""
        return {"name": "onnxruntime", "version": str(ort.__version__), "provider": self.provider}

    def infer(self, tensor: NDArray[Any]) -> Outputs:
        """Return the outputs that the decoder reads, by name, for one input tensor. Raises InputRejected if the network
        cannot work it out."""
        arrays = self._run(tensor, ort.RunOptions())
        return {name: np.asarray(array) for name, array in zip(self.output_names, arrays, strict=True)}

    def infer_within(self, tensor: NDArray[Any], limit_s: float) -> Outputs:
        """Return the same, or raise InputRejected when the network takes longer than the limit. It is stopped between
        two of its operators, so also in an endless loop."""
        options = ort.RunOptions()
        late = threading.Event()

        def stop() -> None:
            late.set()
            options.terminate = True

        timer = threading.Timer(limit_s, stop)
        timer.daemon = True
        timer.start()
        try:
            arrays = self._run(tensor, options)
        except InputRejected as exc:
            if not late.is_set():
                raise
            what = f"the model took longer than {limit_s:g} s for one picture"
            raise InputRejected(what, "", "it is too slow for this machine, or has a loop that never ends") from exc
        finally:
            timer.cancel()
        return {name: np.asarray(array) for name, array in zip(self.output_names, arrays, strict=True)}

    def _run(self, tensor: NDArray[Any], options: Any) -> Sequence[Any]:
        try:
            found: Sequence[Any] = self.session.run(self.output_names, {self.manifest.input.name: tensor}, options)
        except Exception as exc:  # onnxruntime's errors share no base below Exception
            cause, remedy = cause_of(exc)
            raise InputRejected(f"the model failed: {cause}", "", remedy) from exc
        return found


def open_network(
    file: str,
    manifest: Manifest,
    weights: bytes,
    *,
    further: Sequence[PassSpec] | None = None,
    limit_s: float = DRY_RUN_LIMIT_S,
) -> Network:
    """Return the network in the weights, for the whole picture and ``further`` passes, by default the manifest's.

    Raises InputRejected with a sentence if it cannot be opened, does not agree with the manifest, or takes longer than
    the limit for one picture; ``file`` names the weights in that sentence."""
    further = manifest.passes if further is None else further
    found = hashlib.sha256(weights).hexdigest()
    if found != manifest.sha256:
        raise InputRejected(f"expected sha256 {manifest.sha256} as in the manifest, got {found}", file)
    refuse_external_data(file, weights)
    provider = find_provider()
    session = open_session(file, weights, provider)
    _check_input(file, manifest, session.get_inputs())
    _check_any_size(file, manifest, session.get_inputs()[0].shape, further)
    _check_outputs(file, manifest, session.get_outputs())
    _check_metadata(file, manifest, session.get_modelmeta().custom_metadata_map)
    network = Network(manifest=manifest, session=session, output_names=output_names(manifest), provider=provider)
    for input_px in _inputs(manifest, further):
        _dry_run(file, network, input_px, limit_s)
    return network


def open_session(file: str, weights: bytes, provider: str) -> Any:
    """Open a session of one thread with this provider and no other. Raises InputRejected with the cause."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # workers are processes
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")  # the only one that was looked through
    options.log_severity_level = _SILENT
    try:
        session = ort.InferenceSession(weights, options, providers=[provider])
    except Exception as exc:  # onnxruntime's errors share no base below Exception
        cause, remedy = cause_of(exc)
        raise InputRejected(f"cannot be opened as an ONNX model: {cause}", file, remedy) from exc
    if session.get_providers()[0] != provider:  # it goes on with the CPU when a library or a device is missing
        hint = "look for its libraries and its device; see docs/models.md"
        raise InputRejected(f"{provider} cannot be used on this machine", "LOOKOUT_PROVIDER", hint)
    return session


def _check_input(file: str, manifest: Manifest, inputs: Sequence[Any]) -> None:
    spec = manifest.input
    names = [item.name for item in inputs]
    if names != [spec.name]:
        raise InputRejected(f"expected one input named {spec.name!r} as in the manifest, got {names}", file, HINT)
    shape, kind = inputs[0].shape, inputs[0].type
    if kind != TENSOR_TYPES[spec.dtype]:
        raise InputRejected(
            f"input {spec.name!r}: expected {TENSOR_TYPES[spec.dtype]} as in the manifest, got {kind}", file
        )
    fits = len(shape) == 4 and all(
        got == want or not isinstance(got, int) for got, want in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise InputRejected(
            f"input {spec.name!r}: expected the shape {list(spec.shape)} ({spec.layout}) as in the manifest, got "
            f"{shape}",
            file,
        )


def _check_outputs(file: str, manifest: Manifest, outputs: Sequence[Any]) -> None:
    names = [item.name for item in outputs]
    missing = [name for name in output_names(manifest) if name not in names]
    if missing:
        raise InputRejected(f"expected an output named {missing[0]!r} as in the manifest, got {names}", file, HINT)


def _check_metadata(file: str, manifest: Manifest, metadata: Mapping[str, str]) -> None:
    """Believe an export that says of itself that the suppression is in its graph."""
    if metadata.get("end2end", "").lower() == "true" and manifest.decoder != "end-to-end":
        raise InputRejected("its metadata says end2end", file, END_TO_END_HINT)


def _check_any_size(file: str, manifest: Manifest, shape: Sequence[Any], further: Sequence[PassSpec]) -> None:
    """Refuse a larger input for a network that takes one size only."""
    sides = shape[1:3] if manifest.input.layout == "NHWC" else shape[2:4]
    if any(isinstance(one, AreaPass) for one in further) and any(isinstance(side, int) for side in sides):
        what = f"passes of another size need an input of any size, but that of the model is {shape}"
        raise InputRejected(what, file, "export it with dynamic sizes, or use tiles")


def _inputs(manifest: Manifest, further: Sequence[PassSpec]) -> Iterator[Size]:
    """Yield the sizes of inputs: for the whole picture, and for each further pass over one of 16 by 9."""
    yield manifest.input.size
    for one in further:
        if isinstance(one, AreaPass):
            yield area_input((16, 9), one)


def _dry_run(file: str, network: Network, input_px: Size, limit_s: float) -> None:
    spec = network.manifest.input
    black = np.zeros((input_px[1], input_px[0], 3), np.uint8)
    try:
        outputs = network.infer_within(make_input(black, place(*input_px, spec, input_px), spec), limit_s)
        decode(network.manifest, outputs, 0.0, input_px)
    except InputRejected as exc:
        place_said = f"output {exc.where!r}: " if exc.where else ""
        raise InputRejected(f"a dry run failed: {place_said}{exc.what}", file, exc.hint) from exc
