"""A private certificate authority with a certificate for servers on the loopback and one for a client, by ``openssl``.

Good for tests and for servers of one machine: the authority's key lies beside what it signed.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lookout.domain.errors import InputRejected, Unavailable

_DAYS: Final = 365
_AUTHORITY: Final = """basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash
"""
_LEAF: Final = """basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""
# A member of an etcd cluster, and etcd's own gateway, show the server's certificate as clients.
_SERVER: Final = _LEAF + "extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost\n"
_CLIENT: Final = _LEAF + "extendedKeyUsage=clientAuth\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificates:
    """PEM files: the authority's certificate, and certificate and key of a server and of a client."""

    ca: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path


def make_certificates(folder: Path, *, client_name: str = "lookout") -> Certificates:
    """Return the certificates in ``folder``, made there (P-256, valid for a year) where they are missing.

    ``client_name`` becomes the common name of the client's, which etcd takes for a user. Raises InputRejected without
    ``openssl``, Unavailable with its words when it fails.
    """
    files = Certificates(
        ca=folder / "ca.pem",
        server_certificate=folder / "server.pem",
        server_key=folder / "server.key",
        client_certificate=folder / "client.pem",
        client_key=folder / "client.key",
    )
    if files.client_certificate.exists():
        return files
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _sign(files.ca, folder / "ca.key", "Lookout private authority", _AUTHORITY, authority=None)
    authority = (files.ca, folder / "ca.key")
    _sign(files.server_certificate, files.server_key, "localhost", _SERVER, authority)
    _sign(files.client_certificate, files.client_key, client_name, _CLIENT, authority)
    return files


def _sign(certificate: Path, key: Path, name: str, extensions: str, authority: tuple[Path, Path] | None) -> None:
    """Make a key and a certificate for it, signed by the authority, or by itself."""
    key.touch(mode=0o600)
    request, options = certificate.with_suffix(".csr"), certificate.with_suffix(".ext")
    options.write_text(extensions, encoding="ascii")
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
    _openssl("req", "-new", "-key", str(key), "-subj", f"/CN={name}", "-out", str(request))
    signer = (
        ("-CA", str(authority[0]), "-CAkey", str(authority[1]), "-CAcreateserial")
        if authority
        else ("-signkey", str(key))
    )
    _openssl(
        "x509", "-req", "-in", str(request), *signer,
        "-days", str(_DAYS), "-sha256", "-extfile", str(options), "-out", str(certificate),
    )  # fmt: skip
    request.unlink()
    options.unlink()


def find_openssl() -> str:
    """Return the program's path. Raises InputRejected where it is not installed."""
    program = shutil.which("openssl")
    if program is None:
        raise InputRejected("no such program here", "openssl", "install it, on Debian by apt-get install openssl")
    return program


def _openssl(*arguments: str) -> None:
    done = subprocess.run([find_openssl(), *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise Unavailable("openssl", f"{arguments[0]} ended with status {done.returncode}: {done.stderr.strip()}")
