"""Images as files: blobs named by their digest, no layer twice, and a list of images. Knows how to write them as a tar.

In the form that the Open Container Initiative's image specification gives to images. Nothing is compressed: all of it
stays on this machine, where packing and unpacking would take longer than the disk does.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TypedDict

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
# Go's name of what Python's platform calls x86_64, and so on.
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


class Descriptor(TypedDict):
    """A blob as images refer to it."""

    mediaType: str
    digest: str
    size: int


class Image(TypedDict):
    """An image of the store, and the digest of what it was made of."""

    manifest: Descriptor
    inputs: str


class Store:
    """Images in a folder. One process at a time changes it; a reader sees each image as it was or as it is."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs" / "sha256"
        self._list = folder / "images.json"

    @property
    def images(self) -> dict[str, Image]:
        """All images by name."""
        return json.loads(self._list.read_text()) if self._list.exists() else {}

    def put_programs(self, name: str, inputs: str, programs: Mapping[str, Path], settings: Mapping[str, Any]) -> None:
        """Make an image of nothing but these programs, by their paths in it, with these settings of how it is run."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for path, program in programs.items():
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.mode, entry.size = 0o755, program.stat().st_size
                with program.open("rb") as content:
                    tar.addfile(entry, content)
        layer = self._put(_LAYER, packed.getvalue())
        config = {
            "architecture": _ARCHITECTURES[os.uname().machine],
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": self._put(_CONFIG, json.dumps(config).encode()),
            "layers": [layer],
        }
        self._enter(name, inputs, json.dumps(manifest).encode())

    @contextmanager
    def taking(self, name: str, inputs: str, folder: Path) -> Iterator[None]:
        """Take the image that is written into the empty folder meanwhile, in the form of an OCI layout. Its blobs come
        here at once, so that one that is here already need not be written."""
        self._blobs.mkdir(parents=True, exist_ok=True)
        (folder / "blobs").symlink_to(self._blobs.parent)
        yield
        (image,) = json.loads((folder / "index.json").read_bytes())["manifests"]
        self._enter(name, inputs, self._path(image["digest"]).read_bytes())

    def sweep(self, wanted: Collection[str]) -> None:
        """Remove the images of other names, and the blobs that no image has any more."""
        images = {name: image for name, image in self.images.items() if name in wanted}
        self._write_list(images)
        kept = {self._path(digest) for image in images.values() for digest in self._digests(image)}
        for blob in self._blobs.iterdir():
            if blob not in kept:
                blob.unlink()

    def write(
        self, annotations: Mapping[str, Mapping[str, str]], stream: IO[bytes], without: Collection[str] = ()
    ) -> None:
        """Write the images that have annotations as an OCI layout in a tar, ``without`` the blobs of these digests."""
        images = {name: image for name, image in self.images.items() if name in annotations}
        index = [{**image["manifest"], "annotations": annotations[name]} for name, image in images.items()]
        with tarfile.open(fileobj=stream, mode="w|") as tar:
            for name, content in {
                "oci-layout": {"imageLayoutVersion": "1.0.0"},
                "index.json": {"schemaVersion": 2, "manifests": index},
            }.items():
                words = json.dumps(content).encode()
                entry = tarfile.TarInfo(name)
                entry.size = len(words)
                tar.addfile(entry, io.BytesIO(words))
            for digest in dict.fromkeys(digest for image in images.values() for digest in self._digests(image)):
                if digest not in without:
                    tar.add(self._path(digest), f"blobs/{digest.replace(':', '/')}")

    def _enter(self, name: str, inputs: str, manifest: bytes) -> None:
        image = Image(manifest=self._put(_MANIFEST, manifest), inputs=inputs)
        self._write_list(self.images | {name: image})

    def _write_list(self, images: Mapping[str, Image]) -> None:
        part = self._list.with_name(f"{self._list.name}.part")
        part.write_text(json.dumps(images, indent=1), encoding="ascii")
        part.replace(self._list)

    def _put(self, media_type: str, content: bytes) -> Descriptor:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._blobs.mkdir(parents=True, exist_ok=True)
        part = self._blobs / "part"
        part.write_bytes(content)
        part.replace(self._path(digest))
        return Descriptor(mediaType=media_type, digest=digest, size=len(content))

    def _digests(self, image: Image) -> Iterator[str]:
        """Of the image's manifest, configuration and layers."""
        digest = image["manifest"]["digest"]
        yield digest
        yield from (part["digest"] for part in _parts(json.loads(self._path(digest).read_bytes())))

    def _path(self, digest: str) -> Path:
        return self._blobs / digest.removeprefix("sha256:")


def _parts(manifest: Mapping[str, Any]) -> Sequence[Descriptor]:
    return manifest["config"], *manifest["layers"]
