"""Type of a file that is not a JPEG, by its first bytes. For a sentence only: no decision depends on it."""

from __future__ import annotations

from typing import Final

_JPEG_START: Final = b"\xff\xd8\xff"

_STARTS: Final = (
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"BM", "a BMP picture"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
)
_RIFF: Final = {b"WEBP": "a WebP picture", b"AVI ": "an AVI video", b"WAVE": "a WAV sound"}
_HEIF_BRANDS: Final = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def is_jpeg(data: bytes) -> bool:
    """Tell whether the bytes start as a JPEG does, whatever follows; two bytes may be all that is left of one.

    Three bytes are compared, as programs that choose a decoder compare three.
    """
    return data.startswith(_JPEG_START) or (len(data) == 2 and _JPEG_START.startswith(data))


def looks_like(data: bytes) -> str:
    """Return the type of bytes that are not empty and not a JPEG, as in "it looks like a PNG picture"."""
    for start, what in _STARTS:
        if data.startswith(start):
            return what
    if data.startswith(b"RIFF"):
        return _RIFF.get(data[8:12], "a RIFF file")
    if data[4:8] == b"ftyp":
        return _iso_media(data[8:12])
    return _text_or_bytes(data[:1024])


def _iso_media(brand: bytes) -> str:
    if brand in _HEIF_BRANDS:
        return "a HEIC picture"
    if brand in (b"avif", b"avis"):
        return "an AVIF picture"
    return "an MP4 or QuickTime video"


def _text_or_bytes(head: bytes) -> str:
    if not head.strip(b"\x00"):
        return "zeros only"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "an HTML page"
    if text.startswith((b"<svg", b"<?xml")):
        return "XML or SVG text"
    if all(byte >= 0x20 or byte in b"\t\n\r\f" for byte in head) and _is_utf8(head):
        return "text"
    return "data of an unknown kind"


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > 0 and error.start >= len(head) - 3  # a character cut by our own reading
    return True
