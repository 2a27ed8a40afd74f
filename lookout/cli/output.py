"""Output of the commands: JSON, tables, times, files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

import click

from lookout.domain.errors import InputRejected, find_lack
from lookout.filesystem.files import words


def echo_json(value: object) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, default=str))


def echo_json_line(value: object) -> None:
    """Print one JSON object on a line of its own, for streams."""
    click.echo(json.dumps(_plain(value), ensure_ascii=False, default=str))


def write_file(path: Path, data: bytes) -> None:
    """Write a file that the call names. Raises InputRejected for a path that cannot be written, Unavailable when this
    machine has no room."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise find_lack(error) or InputRejected(f"cannot be written: {words(error)}", str(path)) from error


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value
