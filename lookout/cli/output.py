"""Output of the commands: JSON, tables, times."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from enum import Enum

import click


def echo_json(value: object) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, default=str))


def echo_json_line(value: object) -> None:
    """Print one JSON object on a line of its own, for streams."""
    click.echo(json.dumps(_plain(value), ensure_ascii=False, default=str))


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
