"""``lookout ls``, ``get`` and ``history``: objects as a store has them and as the ledger names them."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from lookout.app.deployment import OBJECTS_FOLDER, Deployment, Program, open_minio
from lookout.app.object_versions import Entry, find_named, folder_history, get_named, server_history
from lookout.cli.options import PATH, json_option, state_option
from lookout.cli.output import echo_json, echo_json_line
from lookout.domain.errors import InputRejected, ObjectMissing, Unavailable, find_lack
from lookout.domain.records import ObjectRef
from lookout.filesystem.files import words
from lookout.object_store.port import Listed
from lookout.text import printable, table, when

if TYPE_CHECKING:
    from lookout.object_store.minio import MinioStore

STDOUT: Final = "-"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A bucket, and whether the store has it yet. A state folder makes one with its first object."""

    bucket: str
    where: str
    exists: bool


# --- ls --------------------------------------------------------------------------------------------------------------


@click.command(short_help="List buckets, or the objects in one.")
@click.argument("name", required=False, metavar="[BUCKET[/PREFIX]]")
@state_option
@json_option
@click.pass_obj
def ls(program: Program, name: str | None, state: Path | None, as_json: bool) -> None:
    """List the buckets, or the visible objects of one whose keys begin with PREFIX.

    It streams: a list of any length takes little memory. With --json, one object a line.
    """
    if name is None:
        places = list(_places(program, state))
        if as_json:
            echo_json(places)
        else:
            rows = [(place.bucket, place.where, "" if place.exists else "not there yet") for place in places]
            click.echo(table(rows, ("bucket", "where", "")))
        return
    bucket, _, prefix = name.partition("/")
    _check_bucket(program, bucket, name)
    for found in _listed(program, state, bucket, prefix):
        if as_json:
            echo_json_line(
                {"bucket": bucket, "key": found.key, "size": found.size, "modified_at_s": found.modified_at_s}
            )
        else:
            click.echo(f"{found.size:>12,}  {when(found.modified_at_s)}  {printable(found.key)}")


def _places(program: Program, state: Path | None) -> Iterator[Place]:
    if program.settings.store is not None:
        store = open_minio(program.settings.store)
        for bucket in program.installation.buckets:
            yield Place(bucket=bucket, where=f"{store.access.url}/{store.full(bucket)}", exists=store.exists(bucket))
        return
    with program.open(state) as opened:
        source = opened.ledger.find_note("source")
        for bucket in program.installation.buckets:
            folder = opened.path.absolute() / OBJECTS_FOLDER / bucket
            if bucket == opened.pipeline.inputs:
                yield Place(bucket=bucket, where=source or "single files", exists=True)
            else:
                yield Place(bucket=bucket, where=str(folder), exists=folder.is_dir())


def _listed(program: Program, state: Path | None, bucket: str, prefix: str) -> Iterator[Listed]:
    if program.settings.store is not None:
        store = open_minio(program.settings.store)  # without a ledger: who may only look at a bucket needs none
        found = store.list(bucket, prefix)
        first = next(found, None)
        if first is None:
            _check_there(store, bucket)
            return
        yield first
        yield from found
        return
    with program.open(state) as opened:
        if bucket == opened.pipeline.inputs:
            yield from _known(opened, prefix)
        else:
            yield from opened.store.list(bucket, prefix)


def _known(opened: Deployment, prefix: str) -> Iterator[Listed]:
    """Yield the photographs of a user's folder, as they were when they were last looked at."""
    for seen in opened.ledger.inputs(opened.pipeline.inputs, prefix):
        if seen.ref is not None:
            yield Listed(key=seen.key, size=seen.ref.size, modified_at_s=seen.observed_at_s)


def _check_there(store: MinioStore, bucket: str) -> None:
    if not store.exists(bucket):
        raise Unavailable(f"{store.access.url}/{store.full(bucket)}", "no such bucket; run `lookout init`")


# --- get -------------------------------------------------------------------------------------------------------------


@click.command(short_help="Read one object.")
@click.argument("name", metavar="BUCKET/KEY")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Write it there; - is stdout. [stdout, if no terminal]")
@click.option("--version", metavar="V", help="This version of it, as lookout history names them, or by its sha256.")
@state_option
@click.pass_obj
def get(program: Program, name: str, output: Path | None, version: str | None, state: Path | None) -> None:
    """Read one object: the version that the ledger names, or, of a photograph on a server, the one there now."""
    bucket, key = _split(program, name)
    if output is None and sys.stdout.isatty():
        raise InputRejected("expected a file to write to, as stdout is a terminal", "-o", "-o - writes it there anyway")
    if program.settings.store is not None and bucket == program.pipeline.inputs and version is None:
        data = _read(open_minio(program.settings.store), bucket, key, None)  # without a ledger
    else:
        with program.open(state) as opened:
            if version is None:
                data = opened.store.get(get_named(opened, bucket, key))
            else:
                data = _read_version(program, opened, bucket, key, version)
    if output is None or str(output) == STDOUT:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        _write(output, data)


def _read_version(program: Program, opened: Deployment, bucket: str, key: str, version: str) -> bytes:
    entries = _history(program, opened, bucket, key)
    found = next((one for one in entries if one.kept and version in (one.version, one.sha256)), None)
    if found is None:
        raise InputRejected(f"no version {version!r} of it is kept", f"{bucket}/{key}", "see lookout history")
    if program.settings.store is not None:
        return _read(open_minio(program.settings.store), bucket, key, found.version)
    named = find_named(opened, bucket, key)
    if named is not None and named.sha256 == found.version:
        return opened.store.get(named)
    return opened.store.get(ObjectRef(bucket=bucket, key=key, sha256=found.version, size=found.size or 0))


def _read(store: MinioStore, bucket: str, key: str, version: str | None) -> bytes:
    data = store.connection.read(store.full(bucket), key, version)
    if data is None:
        raise ObjectMissing(bucket, key)
    return data


def _write(path: Path, data: bytes) -> None:
    """Write the file whole or not at all."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise find_lack(error) or InputRejected(f"cannot be written: {words(error)}", str(path)) from error


# --- history ---------------------------------------------------------------------------------------------------------


@click.command(short_help="Show the versions of one object, and the datums that made them.")
@click.argument("name", metavar="BUCKET/KEY")
@state_option
@json_option
@click.pass_obj
def history(program: Program, name: str, state: Path | None, as_json: bool) -> None:
    """Show the versions of one object, the newest first: which one the ledger names, and which datum and run made it.

    In a state folder they are those that the ledger remembers.
    """
    bucket, key = _split(program, name)
    with program.open(state) as opened:
        entries = _history(program, opened, bucket, key)
    if not entries:
        raise InputRejected("no such object, now or earlier", name, "see lookout ls")
    if as_json:
        for entry in entries:
            echo_json_line(entry)
        return
    header = ("", "when", "size", "version", "sha256", "datum", "run")
    click.echo(table([_row(entry) for entry in entries], header))


def _history(program: Program, opened: Deployment, bucket: str, key: str) -> list[Entry]:
    if program.settings.store is not None:
        return server_history(open_minio(program.settings.store), opened, bucket, key)
    return folder_history(opened, bucket, key)


def _row(entry: Entry) -> tuple[object, ...]:
    marks = [("named", entry.named), ("visible", entry.visible), ("removal", entry.removed)]
    said = [word for word, is_so in marks if is_so] or ["kept" if entry.kept else "not kept any more"]
    size = "-" if entry.size is None else f"{entry.size:,}"
    digests = ((entry.sha256 or "-")[:16], (entry.datum or "-")[:16])
    return (", ".join(said), when(entry.modified_at_s), size, entry.version, *digests, entry.run or "-")


# --- names -----------------------------------------------------------------------------------------------------------


def _split(program: Program, name: str) -> tuple[str, str]:
    bucket, _, key = name.partition("/")
    if not key:
        raise InputRejected("expected BUCKET/KEY", name, f"such as {program.pipeline.inputs}/porch_1763798400.jpg")
    _check_bucket(program, bucket, name)
    return bucket, key


def _check_bucket(program: Program, bucket: str, name: str) -> None:
    if bucket not in program.installation.buckets:
        raise InputRejected(f"no such bucket: {bucket!r}", name, f"there are {', '.join(program.installation.buckets)}")
