"""Types of the manifest's fields, and the base of its parts: no field has a default, and unknown ones are refused."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
TensorName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Side = Annotated[int, Field(ge=16, le=4096)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
BoxFormat: TypeAlias = Literal["xyxy", "yxyx", "cxcywh"]
Activation: TypeAlias = Literal["none", "sigmoid"]
Arrangement: TypeAlias = Literal["channels-first", "channels-last"]
Background: TypeAlias = Literal["none", "first", "last"]


class ManifestPart(BaseModel):
    """Object of a manifest: frozen, and without conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=False)
