"""The graph of the four stages: the only place where they are put together."""

from __future__ import annotations

from typing import Final

from lookout.domain.identity import MAX_INPUT_BYTES
from lookout.domain.pipeline import Pipeline, Reads, Stage, UsesReferences
from stages.picture_names import ROLE, group_of, subject_of_key

MAX_PICTURE_BYTES: Final = MAX_INPUT_BYTES
NAME: Final = Reads(role=ROLE, bucket="validate", pattern="names/*.json", optional=True)
"""Name of a picture where a devices file, and not the built-in form, says it."""

PIPELINE: Final = Pipeline(
    inputs="images",
    group_of=group_of,
    subject_of=subject_of_key,
    stages=(
        Stage(
            name="validate",
            version=1,
            prepare="stages.validate.core:prepare",
            reads=(Reads(role="picture", bucket="images", max_bytes=MAX_PICTURE_BYTES),),
            references=UsesReferences(
                bucket="devices",
                accept="stages.validate.devices_file:accept",
                context="stages.validate.devices_file:context",
                select="stages.validate.devices_file:select",
                required=False,
            ),
            params={"max_bytes": MAX_PICTURE_BYTES},
            outdated="stages.validate.times:is_outdated",
        ),
        Stage(
            name="object-detect",
            version=2,
            prepare="stages.object_detect.core:prepare",
            reads=(Reads(role="picture", bucket="validate", pattern="valid/*"), NAME),
            references=UsesReferences(bucket="model", accept="stages.object_detect.manifest:accept", companions=True),
            params={"threshold": 0.5},
        ),
        Stage(
            name="threat-detect",
            version=2,
            prepare="stages.threat_detect.core:prepare",
            reads=(
                Reads(role="picture", bucket="validate", pattern="valid/*", first_seen=True),
                Reads(role="detections", bucket="object-detect", pattern="*.json"),
                NAME,
            ),
            references=UsesReferences(
                bucket="rules",
                accept="stages.threat_detect.rules.rules:accept",
                context="stages.threat_detect.rules.rules:context",
                select="stages.threat_detect.rules.select:select",
                required=False,
            ),
        ),
        Stage(
            name="plot",
            version=3,
            prepare="stages.plot.core:prepare",
            reads=(Reads(role="threats", bucket="threat-detect", pattern="*.json"),),
            grouped=True,
            timeout_s=300.0,
        ),
    ),
)
