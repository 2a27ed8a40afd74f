"""Pages of a bucket's listing, read as the server sends them and turned into entries, one page in memory at a time.

minio-py can list too, but it gives the delete markers of a page after all its versions, so that the order in which
versions followed each other is lost, and it takes eight times as long an entry. Pure but for ``fetch``, which the
caller gives: query parameters in, XML out.

A page is taken apart by expressions, not by an XML parser, whose tree would be half of what a picture that has not
changed costs a run. That is sound as far as the form goes that every such server writes: keys come URL-encoded, as they
are asked for, and all else that is read here is a plain text inside an element of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from html import unescape
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import unquote_plus

from lookout.domain.errors import Corrupt
from lookout.object_store.minio.names import servable_prefix

Fetch: TypeAlias = Callable[[Mapping[str, str]], bytes]
"""One request for a page: the query parameters in, the body of the answer out."""

_WHOLE: Final = re.compile(r"\s*(?:<\?xml.*?\?>\s*)?<(List\w*Result)[ >].*</\1>\s*", re.DOTALL)
_ENTRY: Final = re.compile("<(Version|DeleteMarker|Contents)>")
_FIELD: Final = re.compile("<(Key|VersionId|IsLatest|LastModified|Size|ETag)>([^<]*)")
PAGE: Final = 1000
"""Entries that a server gives at once, at most: for each it reads an object's metadata from its disk."""


class Entry(NamedTuple):
    """One version of one key, or a delete marker, which has no bytes. Of one key the newest comes first.

    In a listing without versions ``version`` is empty. The texts are as the server wrote them: of most entries nobody
    asks for more than key and version, and reading times would take longer than all the rest.
    """

    key: str
    version: str
    is_latest: bool
    is_marker: bool
    modified_text: str
    size_text: str
    etag_text: str

    @property
    def size(self) -> int:
        """In bytes; 0 of a delete marker."""
        return int(self.size_text)

    @property
    def etag(self) -> str:
        """The server's own digest, which is not the content's sha256."""
        return unescape(self.etag_text).strip('"')

    @property
    def modified_at_s(self) -> float:
        """Return the time at which it was written, in Unix seconds."""
        return datetime.fromisoformat(self.modified_text).timestamp()


def current(fetch: Fetch, prefix: str, after: str) -> Iterator[Entry]:
    """Yield the visible objects whose keys start with ``prefix`` and come after ``after``, in the order of code
    points."""
    query = {"list-type": "2", "max-keys": str(PAGE)}
    return _entries(fetch, query, prefix, after, "start-after", _after_objects)


def versions(fetch: Fetch, prefix: str, after: str, through: str | None = None, page: int = PAGE) -> Iterator[Entry]:
    """Yield all versions and delete markers of the keys that start with ``prefix``, come after ``after`` and not after
    ``through`` (None: to the end): keys in the order of code points, of each key the newest first."""
    query = {"versions": "", "max-keys": str(page)}
    for entry in _entries(fetch, query, prefix, after, "key-marker", _after_versions):
        if through is not None and entry.key > through:
            return
        yield entry


def versions_of(fetch: Fetch, key: str) -> Iterator[Entry]:
    """Yield all versions and delete markers of one key, the newest first."""
    for entry in versions(fetch, key, ""):
        if entry.key != key:
            return  # a key comes before all that it is the beginning of
        yield entry


def _entries(
    fetch: Fetch,
    query: dict[str, str],
    prefix: str,
    after: str,
    start: str,
    following: Callable[[str], dict[str, str]],
) -> Iterator[Entry]:
    asked = servable_prefix(prefix)
    if asked is None or (after >= prefix and not after.startswith(prefix)):
        return  # no key can begin like that, or all that do come before
    query |= {"prefix": asked, "delimiter": "", "encoding-type": "url"}
    begin = servable_prefix(after) or ""  # not after ``after``, so nothing is missed; what is too early is filtered
    more = {start: begin} if begin and begin.startswith(asked) else {}
    while True:
        page = _text(fetch(query | more))
        for entry in _of_page(page):
            if entry.key > after and entry.key.startswith(prefix):
                yield entry
        if _find(page, "IsTruncated") != "true":
            return
        more = following(page)


def _after_objects(page: str) -> dict[str, str]:
    return {"continuation-token": _required(page, "NextContinuationToken")}


def _after_versions(page: str) -> dict[str, str]:
    marker = unquote_plus(_required(page, "NextKeyMarker"))
    return {"key-marker": marker, "version-id-marker": _find(page, "NextVersionIdMarker")}


def _of_page(page: str) -> Iterator[Entry]:
    _, *pieces = _ENTRY.split(page)
    for kind, piece in zip(pieces[::2], pieces[1::2], strict=True):
        fields = dict(_FIELD.findall(piece))
        if "Key" not in fields or "LastModified" not in fields:
            raise Corrupt("a page of a listing", f"{kind} with Key and LastModified", repr(piece[:80]))
        key = unquote_plus(unescape(fields["Key"]))
        if not key.endswith("/"):  # somebody's empty folder: no key of ours
            yield Entry(
                key,
                fields.get("VersionId", ""),
                fields.get("IsLatest", "true") == "true",
                kind == "DeleteMarker",
                fields["LastModified"],
                fields.get("Size", "0"),
                fields.get("ETag", ""),
            )


def _text(body: bytes) -> str:
    """Return the page. Raises Corrupt for one that is not whole, as it would look like a bucket with fewer objects."""
    text = body.decode("utf-8", "replace")
    if _WHOLE.fullmatch(text) is None:
        raise Corrupt("a page of a listing", "XML", f"{len(body)} bytes that are none")
    return text


def _find(page: str, name: str) -> str:
    """Return the text of an element that a page has once; empty when it is not there."""
    found = re.search(f"<{name}>([^<]*)", page)
    return unescape(found[1]) if found is not None else ""


def _required(page: str, name: str) -> str:
    text = _find(page, name)
    if not text:
        raise Corrupt("a page of a listing that says there is more", name, "nothing")
    return text
