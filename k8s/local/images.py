"""Building of images, and their import into the node's containerd.

They are kept in the cache, so a new cluster takes all from there. An image is built again when what it is made of has
changed, and handed over again when containerd has another one, or none, of its name.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from k8s.local import debian
from k8s.local.commands import CommandFailed, run, say, succeeds
from k8s.local.node import Node
from k8s.local.recipes import PROJECT, SERVERS, ProjectImage
from k8s.local.site import ROOT, Site
from k8s.local.store import Store

_BASE: Final = "localhost/lookout-base"
_CONTAINERD_NAME: Final = "io.containerd.image.name"
_MOST_STEPS: Final = 200


class Images:
    """All images of the site. One process at a time builds."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._folder = site.cache / "images"
        self._store = Store(self._folder)

    def build(self) -> None:
        """Build what is missing or made of something else by now."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._sole_builder():
            for server in SERVERS:
                inputs = server.inputs(self._site)
                if not self._is_current(server.name, inputs):
                    files = {path: self._site.program(Path(path).name) for path in server.programs}
                    self._store.put_programs(server.name, inputs, files, server.settings)
            base = self._provide_base()
            for image in PROJECT:
                inputs = image.inputs(base)
                if not self._is_current(image.name, inputs):
                    self._build_project(image, inputs, base)
            self._store.sweep([image.name for image in (*SERVERS, *PROJECT)])
            self._sweep_steps()

    def hand_over(self, node: Node) -> list[str]:
        """Give the node's containerd the images that it does not have; their names."""
        ctr = ("ctr", "--namespace=k8s.io")
        listed = run(*node.enter(*ctr, "images", "list")).splitlines()[1:]
        there = {(words[0], words[2]) for words in map(str.split, listed)}
        images = self._store.images.items()
        missing = [name for name, image in images if (full_name(name), image["manifest"]["digest"]) not in there]
        if not missing:
            return []
        say(f"handing {len(missing)} images to containerd")
        # A layer that it has already, of another image or an earlier one, is not sent again.
        has = set(run(*node.enter(*ctr, "content", "list", "--quiet")).split())
        command = node.enter(*ctr, "images", "import", "-")
        read, write = os.pipe()
        process = subprocess.Popen(command, stdin=read, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # noqa: S603
        os.close(read)
        # It has ended when it does not take all; its words are below.
        with suppress(BrokenPipeError), os.fdopen(write, "wb") as stream:
            self._store.write({name: {_CONTAINERD_NAME: full_name(name)} for name in missing}, stream, without=has)
        said, _ = process.communicate()
        if process.returncode:
            raise CommandFailed(command, process.returncode, said.decode(errors="replace"))
        return missing

    def _is_current(self, name: str, inputs: str) -> bool:
        image = self._store.images.get(name)
        return image is not None and image["inputs"] == inputs

    def _provide_base(self) -> str:
        """Have the base image in buildah's storage; the digest of what it is made of."""
        inputs = hashlib.sha256(debian.BASE_INPUTS.encode()).hexdigest()
        name = f"{_BASE}:{inputs[:12]}"
        if not succeeds(*self._buildah("inspect", "--type=image", name)):
            with self._scratch() as folder:
                debian.make_base(folder / "root")
                run(
                    "tar", "--create", "--numeric-owner", f"--file={folder}/root.tar", f"--directory={folder}/root", "."
                )
                (folder / "Containerfile").write_text(
                    'FROM scratch\nADD root.tar /\nCMD ["python3"]\n', encoding="ascii"
                )
                (folder / ".dockerignore").write_text("root\n", encoding="ascii")
                run(*self._buildah("bud", "--quiet", "--tag", name, folder))
        return name

    def _build_project(self, image: ProjectImage, inputs: str, base: str) -> None:
        """Build it without a network: the packages are fetched here, and pip is told in the build where they are."""
        say(f"building the image {image.name}")
        packages = self._folder / "packages" / image.name.partition(":")[0].replace("/", "-")
        self._fetch_packages(image, packages)
        pip = self._folder / "pip.conf"
        pip.write_text("[global]\nno-index = true\nfind-links = /packages\n", encoding="ascii")
        run(
            *self._buildah(
                "bud", "--quiet", "--layers", "--isolation=chroot",
                f"--build-arg=BASE={base}", f"--build-arg=REVISION={_revision()}",
                f"--volume={packages}:/packages:ro", f"--volume={pip}:/etc/pip.conf:ro",
                *((f"--target={image.target}",) if image.target else ()),
                "--tag", image.name, "--file", ROOT / image.dockerfile, ROOT,
            )
        )  # fmt: skip
        with self._scratch() as folder, self._store.taking(image.name, inputs, folder):
            run(*self._buildah("push", "--quiet", "--disable-compression", image.name, f"oci:{folder}"))

    def _fetch_packages(self, image: ProjectImage, folder: Path) -> None:
        """The locked packages that the image installs, in the folder."""
        wanted = hashlib.sha256(b"".join(file.read_bytes() for file in image.requirements)).hexdigest()
        done = folder / "done"
        if done.exists() and done.read_text() == wanted:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", folder)
        for file in image.requirements:
            run(*pip, "--no-deps", "--require-hashes", "--python-version=3.11", "--requirement", file)
        done.write_text(wanted, encoding="ascii")

    def _sweep_steps(self) -> None:
        """Forget the steps of builds, of which buildah keeps each as an image, when they have become too many."""
        if len(run(*self._buildah("images", "--all", "--quiet")).split()) > _MOST_STEPS:
            run(*self._buildah("rmi", "--prune", "--force"))

    def _buildah(self, *arguments: str | Path) -> tuple[str, ...]:
        """Return the command in namespaces of its own: without a network, and a killed build leaves no mounts."""
        storage = (
            f"--root={self._folder}/buildah",
            f"--runroot={self._folder}/buildah-run",
            "--storage-driver=overlay",
        )
        return ("unshare", "--mount", "--net", "buildah", *storage, *map(str, arguments))

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """Yield an empty folder for a while."""
        folder = self._folder / "scratch"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder
        shutil.rmtree(folder)

    @contextmanager
    def _sole_builder(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("images are being built already; waiting")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _revision() -> str:
    """Return the project's commit, if git knows it."""
    try:
        return run("git", "-C", ROOT, "rev-parse", "HEAD").strip()
    except (CommandFailed, FileNotFoundError):
        return "unknown"


def full_name(name: str) -> str:
    """Return the name as Kubernetes completes it."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"
