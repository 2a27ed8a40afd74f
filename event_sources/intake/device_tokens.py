"""Devices that may upload by HTTP, and their tokens, from a file that an operator writes.

The file has digests of tokens and no token, so whoever reads it can upload nothing. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from lookout.domain.errors import InputRejected
from lookout.filesystem.files import MAX_SETTING_BYTES, read_named, words

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_FORM: Final = 'expected {"<device>": {"tokens": ["<sha256 of a token, 64 hex digits>"], "zone": "Europe/Vienna"}}'


class _Device(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    tokens: list[str]
    zone: str | None = None


class _File(RootModel[dict[str, _Device]]):
    pass


@dataclass(frozen=True, kw_only=True)
class DeviceTokens:
    """Devices by name: digests of the tokens of each, and the zone of its clock, where a picture says none."""

    tokens: Mapping[str, Sequence[str]]
    zones: Mapping[str, tzinfo]

    @classmethod
    def read(cls, file: Path, is_device: Callable[[str], bool], find_zone: Callable[[str], tzinfo | None]) -> Self:
        """Read the file. ``is_device`` tells whether a name may be a device's, ``find_zone`` gives the zone of a name.
        Raises InputRejected that names the file and the device."""
        try:
            found = _File.model_validate_json(read_named(file, MAX_SETTING_BYTES)).root
        except OSError as exc:
            raise InputRejected(
                f"cannot be read: {words(exc)}", str(file), "LOOKOUT_INTAKE_DEVICE_TOKENS names it"
            ) from exc
        except ValidationError as exc:
            first = exc.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise InputRejected(f"{place}: {first['msg']}".removeprefix(": "), str(file), _FORM) from exc
        for name, device in found.items():
            if not is_device(name):
                raise InputRejected(
                    f"{name!r} is not a valid device name", str(file), "1 to 63 characters without a slash"
                )
            if not all(_DIGEST.fullmatch(token) for token in device.tokens):
                raise InputRejected(f"a token of {name!r} is no sha256 in 64 hex digits", str(file), _FORM)
        return cls(
            tokens={name: tuple(device.tokens) for name, device in found.items()},
            zones={
                name: _zone(file, name, device.zone, find_zone)
                for name, device in found.items()
                if device.zone is not None
            },
        )

    def of(self, token: str) -> frozenset[str]:
        """Return the devices whose token it is; empty if it is nobody's. Takes as long for every token."""
        given = hashlib.sha256(token.encode()).hexdigest()
        found = set()
        for name, digests in self.tokens.items():
            for digest in digests:
                if hmac.compare_digest(given, digest):
                    found.add(name)
        return frozenset(found)


def _zone(file: Path, name: str, zone: str, find_zone: Callable[[str], tzinfo | None]) -> tzinfo:
    found = find_zone(zone)
    if found is None:
        raise InputRejected(f"the zone of {name!r}, {zone!r}, is not known", str(file), "e.g. Europe/Vienna")
    return found
