"""``python -m devkit.servers up | down | status``: MinIO and etcd for this machine; see ``make services``.

Results on stdout, trouble on stderr; exit codes as those of ``lookout``. Prints no password.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from devkit.servers.services import DEFAULT_FOLDER, ETCD_PORT, MINIO_PORT, Asked, Service, Services
from devkit.servers.transfers import FTP_PORT, SFTP_PORT
from lookout.domain.errors import LookoutError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m devkit.servers", description="MinIO and etcd for this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start what does not run, and say how to use it")
    up.add_argument("--minio-port", type=_port, default=MINIO_PORT, help=f"by default {MINIO_PORT}")
    up.add_argument("--etcd-port", type=_port, default=ETCD_PORT, help=f"by default {ETCD_PORT}")
    up.add_argument("--ftp-port", type=_port, default=FTP_PORT, help=f"by default {FTP_PORT}")
    up.add_argument("--sftp-port", type=_port, default=SFTP_PORT, help=f"by default {SFTP_PORT}")
    cameras = "FTP and SFTP of MinIO: tls (by default), plain (FTP without TLS), or off"
    up.add_argument("--cameras", choices=("tls", "plain", "off"), default="tls", help=cameras)
    up.add_argument("--tls", action="store_true", help="with certificates of a private authority in the folder")
    down = commands.add_parser("down", help="stop both; data and passwords stay")
    status = commands.add_parser("status", help="say how both are; exit 1 if one does not answer")
    for command in (up, down, status):
        command.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help=f"by default {DEFAULT_FOLDER}")
    given = parser.parse_args(arguments)
    services = Services(given.folder)
    try:
        if given.command == "up":
            asked = Asked(
                minio_port=given.minio_port,
                etcd_port=given.etcd_port,
                tls=given.tls,
                cameras=given.cameras,
                ftp_port=given.ftp_port,
                sftp_port=given.sftp_port,
            )
            return _show(services.up(asked), services)
        if given.command == "down":
            for name, ran in services.down().items():
                sys.stdout.write(f"{name:<6} {'stopped' if ran else 'did not run'}\n")
            return 0
        return _show(services.status(), services)
    except LookoutError as exc:
        sys.stderr.write(f"{exc}\n")
        return exc.exit_code


def _show(found: Sequence[Service], services: Services) -> int:
    for service in found:
        state = "does not run" if service.pid is None else f"process {service.pid}"
        silent = "" if service.healthy or service.pid is None else ", does not answer"
        sys.stdout.write(f"{service.name:<6} {service.url}  {state}{silent}\n")
        if service.ways_in and service.pid is not None:
            sys.stdout.write(f"       for cameras: {'  '.join(service.ways_in)}\n")
    if not found:
        sys.stdout.write(f"no services in {services.folder}\n")
    healthy = bool(found) and all(service.healthy for service in found)
    if healthy:
        file = os.path.relpath(services.env_file)
        sys.stdout.write(f"to use them in this shell:  . {shlex.quote(file if '/' in file else './' + file)}\n")
    return 0 if healthy else 1


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65_536:
        raise argparse.ArgumentTypeError(f"expected 1 to 65535, got {port}")
    return port


if __name__ == "__main__":
    sys.exit(main())
