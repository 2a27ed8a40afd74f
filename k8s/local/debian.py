"""Parts of Debian for the cluster: packages on this machine, and a small file system with Python for images."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from k8s.local.commands import run, say
from k8s.local.site import Refused

# Each program that is called, and the package that brings it.
_PACKAGES: Final = {
    "containerd": "containerd",
    "runc": "runc",
    "ctr": "containerd",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "ipset": "ipset",
    "iptables": "iptables",
    "openssl": "openssl",
    "mount": "mount",
    "nsenter": "util-linux",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
}
_RELEASE: Final = "bookworm"
_PARTS: Final = "python3,python3-pip,python3-venv,ca-certificates,tzdata"
# Nothing at run time reads these.
_NEEDLESS: Final = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "var/log",
)
BASE_INPUTS: Final = f"debootstrap/1 {_RELEASE} {_PARTS}"
"""What decides what is in the file system, but for Debian's own updates."""


def install_packages() -> None:
    """Install what is missing with apt. Raises Refused without root, or without apt."""
    if os.geteuid():
        raise Refused("The cluster needs root: it makes namespaces, mounts and links.")
    missing = sorted({package for program, package in _PACKAGES.items() if shutil.which(program) is None})
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise Refused(f"These packages of Debian are missing, and there is no apt-get: {', '.join(missing)}.")
    say(f"installing {', '.join(missing)}")
    run("apt-get", "update", "-qq")
    # A package of a server would start it, and the cluster has its own.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    run("apt-get", "install", "-qq", "--yes", "--no-install-recommends", *missing, environment=environment)


def make_base(folder: Path) -> None:
    """Make a Debian in the folder with ``python`` and ``pip`` as the images python:3.11-slim-bookworm have them."""
    say("making the base image from Debian's packages (minutes, once)")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # It mounts /proc and /sys there: in a namespace of its own, they are gone with it, however it ends.
    run("unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={_PARTS}", _RELEASE, folder)
    for path in _NEEDLESS:
        shutil.rmtree(folder / path)
        (folder / path).mkdir()
    (folder / "usr/bin/python").symlink_to("python3")
    # Debian keeps pip from Python's own folders; an image is for one program.
    next(folder.glob("usr/lib/python3.*/EXTERNALLY-MANAGED")).unlink()
