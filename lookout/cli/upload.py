"""``lookout upload``: photographs into the bucket on the server."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from lookout.app.deployment import Program, open_minio
from lookout.cli.options import PATH, json_option
from lookout.cli.output import echo_json
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK, InputRejected, Unavailable
from lookout.text import count, printable

if TYPE_CHECKING:
    from lookout.object_store.minio import MinioStore
    from lookout.uploader.upload import Sent

DEFAULT_WORKERS: Final = 8
MOST_WORKERS: Final = 32
_REDRAW_S: Final = 0.1


@click.command(short_help="Upload photographs to the store's bucket.")
@click.argument("path", nargs=-1, required=True, type=PATH)
@click.option("--prefix", default="", metavar="TEXT", help="Prefix of every key; end it with / for a folder.")
@click.option(
    "--workers",
    type=click.IntRange(1, MOST_WORKERS),
    default=DEFAULT_WORKERS,
    show_default=True,
    metavar="N",
    help="Number of files sent at once.",
)
@json_option
@click.pass_obj
def upload(program: Program, path: tuple[Path, ...], prefix: str, workers: int, as_json: bool) -> None:
    """Upload files, and all files in folders, to the bucket of photographs of LOOKOUT_STORE.

    Keys are paths below the folder named, or the names of single files. What the bucket has already is skipped by its
    digest, so the same call again resumes an interrupted one. A file that cannot be uploaded, or a subfolder that
    cannot be listed, stops no other.
    """
    if program.settings.store is None:
        hint = "or run the folder as it is: lookout run FOLDER"
        raise InputRejected("is not set, so there is no bucket to upload to", "LOOKOUT_STORE", hint)
    from lookout.object_store.minio.names import check_object_key
    from lookout.uploader.upload import find_files
    from lookout.uploader.upload import upload as upload_files

    check_object_key(program.pipeline.inputs, f"{prefix}x")
    began_s = time.monotonic()
    files = find_files(path, prefix)
    store = open_minio(program.settings.store)
    _check_bucket(store, program.pipeline.inputs)
    tally = _Tally(len(files), live=sys.stderr.isatty() and not as_json)
    with tally.shown():
        for sent in upload_files(store, program.pipeline.inputs, files, workers=workers):
            tally.add(sent)
    elapsed_s = time.monotonic() - began_s
    if as_json:
        failures = [{"file": bad.file.path, "key": bad.file.key, "error": bad.error} for bad in tally.failures]
        echo_json(
            {
                "uploaded": tally.uploaded,
                "skipped": tally.skipped,
                "failed": len(failures),
                "bytes": tally.sent_bytes,
                "elapsed_s": round(elapsed_s, 3),
                "failures": failures,
            }
        )
    else:
        click.echo(f"{tally.line()}, in {elapsed_s:.1f} s")
    sys.exit(EXIT_DATUM_FAILED if tally.failures else EXIT_OK)


def _check_bucket(store: MinioStore, bucket: str) -> None:
    """Raise Unavailable unless the server answers, lets the user in and has the bucket: said once, not once a file."""
    from lookout.domain.errors import Denied

    try:
        there = store.exists(bucket)
    except Denied:
        return  # let in, and allowed to put at most: the first file tells
    if not there:
        raise Unavailable(f"{store.access.url}/{store.full(bucket)}", "no such bucket; run `lookout init`")


class _Tally:
    """Counts of the files so far, and their line on the terminal."""

    def __init__(self, total: int, *, live: bool) -> None:
        self._total, self._live = total, live
        self._drawn_at_s = 0.0
        self.uploaded = self.skipped = self.sent_bytes = 0
        self.failures: list[Sent] = []

    def add(self, sent: Sent) -> None:
        if sent.error is not None:
            self.failures.append(sent)
            clear = "\r\033[K" if self._live else ""
            click.echo(f"{clear}failed: {printable(sent.file.path)}: {printable(sent.error)}", err=True)
        elif sent.is_new and sent.ref is not None:
            self.uploaded += 1
            self.sent_bytes += sent.ref.size
        else:
            self.skipped += 1
        if self._live and time.monotonic() - self._drawn_at_s >= _REDRAW_S:
            self._draw()

    def line(self) -> str:
        parts = [f"{self.uploaded:,} uploaded ({self.sent_bytes / 1e6:,.1f} MB)", f"{self.skipped:,} there already"]
        if self.failures:
            parts.append(f"{len(self.failures):,} failed")
        return ", ".join(parts)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """End the line on the terminal, however the work ends."""
        try:
            yield
        finally:
            if self._live:
                self._draw()
                click.echo(err=True)

    def _draw(self) -> None:
        self._drawn_at_s = time.monotonic()
        done = self.uploaded + self.skipped + len(self.failures)
        click.echo(f"\r\033[K{done:,} of {count(self._total, 'file')}: {self.line()}", nl=False, err=True)
