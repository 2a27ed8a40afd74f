"""Texts of the policy that are damaged are told as damage, whatever shape they have."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lookout.domain.errors import Corrupt
from lookout.domain.policy import codec


@pytest.mark.parametrize("damaged", ["{", "nil", "[7]", "null", '[{"devicez": []}]', "[[], {}, 1]"])
@pytest.mark.parametrize(
    "read",
    [
        codec.group_from_json,
        codec.kept_group_from_json,
        codec.decisions_from_json,
        codec.silences_from_json,
        codec.sightings_from_json,
        codec.kept_from_json,
    ],
)
def test_a_damaged_text_is_told(read: Callable[[str], object], damaged: str) -> None:
    with pytest.raises(Corrupt, match="expected what was written"):
        read(damaged)
