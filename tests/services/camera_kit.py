"""A camera for tests: uploads by the programs that people have, with the user that ``lookout init`` made for it."""

from __future__ import annotations

import array
import fcntl
import os
import subprocess
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devkit.servers.for_tests import MinioServer, Transfers
from tests.services.cli_kit import Site

_SOON_S: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A camera of a site. ``root`` is a folder for its own files; ``bucket`` the folder on the server."""

    root: Path
    minio: MinioServer
    user: str
    secret: str
    bucket: str

    @classmethod
    def of(cls, site: Site, minio: MinioServer, role: str = "camera") -> Camera:
        env = site.be(role)
        return cls(
            root=site.root,
            minio=minio,
            user=env["LOOKOUT_STORE_ACCESS_KEY"],
            secret=env["LOOKOUT_STORE_SECRET_KEY"],
            bucket=site.store.full("images"),
        )

    def curl_words(self, *arguments: str) -> list[str]:
        """curl with the password in a file, and TLS demanded where the server has it."""
        config = self.root / "curlrc"
        config.write_text(f'user = "{self.user}:{self.secret}"\n')
        tls = self._transfers.tls
        trust = ["--ssl-reqd", "--cacert", str(tls.ca)] if tls else []
        return ["curl", "--silent", "--show-error", "--max-time", "60", "--config", str(config), *trust, *arguments]

    def curl(self, *arguments: str, code: int = 0) -> str:
        return self._run(self.curl_words(*arguments), code)

    def url(self, path: str = "") -> str:
        return f"ftp://127.0.0.1:{self._transfers.ftp}/{self.bucket}/{path}"

    def upload(self, file: Path, path: str, *arguments: str, code: int = 0) -> None:
        """Upload by curl, as FTPS where the server has a certificate, else as FTP."""
        self.curl(*arguments, "--upload-file", str(file), self.url(path), code=code)

    def upload_half(self, data: bytes, path: str) -> None:
        """Upload the first half by curl, and kill it, as a power cut does."""
        words = self.curl_words("--upload-file", ".", self.url(path))
        with subprocess.Popen(words, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            pipe = process.stdin.fileno()
            os.write(pipe, data[: len(data) // 2])
            until(lambda: _unread(pipe) == 0)
            process.kill()

    def lftp(self, *commands: str) -> str:
        tls = self._transfers.tls
        trust = [f"set ssl:ca-file {tls.ca}", "set ftp:ssl-force true"] if tls else []
        url = f"ftp://127.0.0.1:{self._transfers.ftp}"
        script = "; ".join([*trust, f"open -u {self.user},{self.secret} {url}", *commands, "bye"])
        return self._run(["lftp", "-f", str(self._write("lftp", script))], 0)

    def sftp(self, *commands: str, code: int = 0) -> str:
        """OpenSSH's, told to stop at the first command that fails."""
        batch = self._write("batch", "\n".join(commands) + "\n")
        return self._run([*self._sftp_words(), "-b", str(batch), f"{self.user}@127.0.0.1"], code, self._ask())

    def sftp_half(self, file: Path, path: str) -> None:
        """Upload slowly by sftp, and kill it when the server has begun to take it."""
        words = [*self._sftp_words(), "-l", "64", f"{self.user}@127.0.0.1:{self.bucket}"]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self._ask(), text=True
        ) as process:
            assert process.stdin is not None
            process.stdin.write(f"put {file} {path}\n")
            process.stdin.flush()
            parts = self.minio.folder / "data" / ".minio.sys" / "multipart"
            until(lambda: parts.is_dir() and any(parts.iterdir()))
            process.kill()

    def _sftp_words(self) -> list[str]:
        known = f"UserKnownHostsFile={self.root / 'known_hosts'}"
        options = ["BatchMode=no", "StrictHostKeyChecking=accept-new", known, "PubkeyAuthentication=no"]
        return ["sftp", "-q", "-P", str(self._transfers.sftp), *(word for one in options for word in ("-o", one))]

    def _ask(self) -> dict[str, str]:
        """The environment in which ssh asks a program for the password."""
        program = self._write("password", f"#!/bin/sh\necho '{self.secret}'\n")
        program.chmod(0o700)
        return {**os.environ, "SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force", "HOME": str(self.root)}

    def _write(self, name: str, text: str) -> Path:
        file = self.root / name
        file.write_text(text)
        return file

    @property
    def _transfers(self) -> Transfers:
        assert self.minio.transfers is not None
        return self.minio.transfers

    def _run(self, words: list[str], code: int, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            words,
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SOON_S,
            check=False,
        )
        assert done.returncode == code, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr


def until(ready: Callable[[], bool]) -> None:
    end_s = time.monotonic() + _SOON_S
    while not ready():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def _unread(pipe: int) -> int:
    """Bytes in a pipe that its reader has not taken."""
    found = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, found)
    return found[0]
