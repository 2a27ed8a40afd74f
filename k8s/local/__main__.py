"""``python3 -m k8s.local up``, ``down``, ``images``: the local cluster, as make cluster and its kin call it."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from k8s.local import debian
from k8s.local.addons import Addons
from k8s.local.certificates import make_certificates
from k8s.local.commands import CommandFailed, say
from k8s.local.images import Images
from k8s.local.node import Node
from k8s.local.program_settings import programs, write_configuration
from k8s.local.site import Refused, Site


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python3 -m k8s.local", description="A Kubernetes of one node on this machine."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command, words in (
        (up, "bring it up, or set right what is not as it should be"),
        (down, "end it and remove what it kept; nothing stays but caches"),
        (images, "build the images, and hand them to the cluster if it is up"),
    ):
        commands.add_parser(command.__name__, help=words).set_defaults(do=command)
    do: Callable[[Site], None] = parser.parse_args().do
    try:
        site = Site.from_environment()
        with sole_user(site):
            do(site)
    except (Refused, CommandFailed, subprocess.TimeoutExpired) as exc:
        sys.exit(str(exc))


def up(site: Site) -> None:
    began_s = time.monotonic()
    debian.install_packages()
    node, images, addons = Node(site), Images(site), Addons(site)
    node.check_machine()
    if node.find_first_process() is None:
        site.check_space()
    make_certificates(site)
    write_configuration(site)
    if node.start(programs(site)):
        say("the node is started")
    # It takes some seconds to be ready, in which images are built.
    images.build()
    new = images.hand_over(node)
    addons.await_api()
    addons.renew(new)
    addons.apply_names()
    addons.apply_argo()
    addons.apply_lookout()
    addons.await_rollouts()
    say(f"The cluster is up, in {time.monotonic() - began_s:.0f} s. To use it:")
    sys.stdout.write(f"export KUBECONFIG={site.kubeconfig} PATH={site.bin}:$PATH\n")


def down(site: Site) -> None:
    Node(site).stop()
    shutil.rmtree(site.cluster)
    say("The cluster is down.")


def images(site: Site) -> None:
    debian.install_packages()
    images, node, addons = Images(site), Node(site), Addons(site)
    images.build()
    if node.find_first_process():
        new = images.hand_over(node)
        addons.await_api()
        addons.renew(new)


@contextmanager
def sole_user(site: Site) -> Iterator[None]:
    """Hold the cluster's lock, or wait for it. A killed command, or a child that was just starting, lets go of it."""
    while True:
        site.cluster.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (site.cluster / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another command is at work on the cluster; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                same = os.fstat(lock.fileno()).st_ino == (site.cluster / "lock").stat().st_ino
            except FileNotFoundError:
                same = False
            # Else it has been removed with the folder meanwhile, and means nothing any more.
            if same:
                yield
                return


if __name__ == "__main__":
    main()
