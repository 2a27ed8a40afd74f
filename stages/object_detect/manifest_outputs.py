"""Outputs of a network as a manifest declares them: one form for each decoder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stages.object_detect.manifest_parts import Activation, Arrangement, Background, BoxFormat, ManifestPart, TensorName


class BoxesSpec(ManifestPart):
    """Boxes (1, N, 4): in which order, and whether 0 to 1 or in pixels of the input."""

    name: TensorName
    format: BoxFormat
    normalized: bool


class ScoreTableSpec(ManifestPart):
    """Scores (1, N, C): a column per label, and perhaps one for the background."""

    name: TensorName
    activation: Activation
    background: Background


class ScoresSpec(ManifestPart):
    """Scores (1, N) of the class given beside."""

    name: TensorName
    activation: Activation


class ClassesSpec(ManifestPart):
    """Classes (1, N): their values are the manifest's ``class_ids``, or positions in ``labels`` counted from 0."""

    name: TensorName
    values: Literal["class-id", "label-index"]


class CountSpec(ManifestPart):
    """Count of the valid ones of N rows: (1,)."""

    name: TensorName


class SsdDecodedOutputs(ManifestPart):
    boxes: BoxesSpec
    scores: ScoreTableSpec


class SsdRawOutputs(ManifestPart):
    boxes: BoxesSpec
    classes: ClassesSpec
    scores: ScoresSpec
    count: CountSpec


class PredictionsSpec(ManifestPart):
    """Box and scores in one array: (1, columns, N) as ``channels-first``, (1, N, columns) as ``channels-last``. The
    columns are 4 and C, with objectness between them where the decoder says so."""

    name: TensorName
    arrangement: Arrangement
    format: BoxFormat
    normalized: bool
    activation: Activation


class GridSpec(ManifestPart):
    """Offsets in grid cells, logarithms of sizes, objectness and scores in one array; the cells of all ``strides``,
    row by row, one stride after the other."""

    name: TensorName
    arrangement: Arrangement
    strides: Annotated[tuple[Annotated[int, Field(ge=1, le=256)], ...], Field(min_length=1, max_length=8)]
    activation: Activation


class RowsSpec(ManifestPart):
    """Objects (1, N, 6), suppressed by the graph: box, score, position in ``labels`` counted from 0. A row with the
    score 0 is none."""

    name: TensorName
    format: BoxFormat
    normalized: bool


class LogitsSpec(ManifestPart):
    """Class values (1, Q, C) of queries, and perhaps one for "no object"."""

    name: TensorName
    activation: Literal["none", "sigmoid", "softmax"]
    background: Background


class PredictionsOutputs(ManifestPart):
    predictions: PredictionsSpec


class YoloxOutputs(ManifestPart):
    predictions: GridSpec


class EndToEndOutputs(ManifestPart):
    predictions: RowsSpec


class DetrOutputs(ManifestPart):
    boxes: BoxesSpec
    logits: LogitsSpec
