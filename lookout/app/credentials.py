"""The credentials of users in files: written for a person, or given by whoever runs a cluster.

What is written is ``FOLDER/<role>.env``, one variable a line, for their owner's eyes only; for who asks MinIO for its
metrics also ``FOLDER/<role>.token``, as Prometheus reads it.

A server never gives a secret out again, so none may be lost on the way: it is in a file before the server hears of it.
A renewed one waits beside the old one until the server has it; whatever is killed in between, one of both is right, and
``recover`` finds out which. Lines are plain ``NAME=value``, as shells, containers and clusters read them.

What is given is ``FOLDER/<role>/<variable>``, a file a value, as clusters show their secrets. It is only read.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lookout.config.addresses import StoreAddress
from lookout.domain.errors import InputRejected, find_lack
from lookout.filesystem.files import MAX_SETTING_BYTES, failure, read_named, words
from lookout.object_store.minio.metrics_token import metrics_token

_SECRET_BYTES: Final = 24
_URL: Final = "LOOKOUT_STORE"
_ACCESS_KEY: Final = "LOOKOUT_STORE_ACCESS_KEY"
_SECRET_KEY: Final = "LOOKOUT_STORE_SECRET_KEY"  # noqa: S105 - a variable's name
_LEDGER_ROOT: Final = Path("ledger-root", "LOOKOUT_LEDGER_ROOT_PASSWORD")
_LEDGER_USER: Final = "LOOKOUT_LEDGER_USER"
_LEDGER_PASSWORD: Final = "LOOKOUT_LEDGER_PASSWORD"  # noqa: S105 - a variable's name


class Credentials:
    """Files of one deployment's users in one folder."""

    def __init__(self, folder: Path, store: StoreAddress) -> None:
        self.folder, self._store = folder, store

    def prepare(self, users: dict[str, str]) -> None:
        """Make the folder and look at what is in it, before anything is changed; ``users`` maps roles to access keys.

        Raises InputRejected when no file can be made there, or when one of the files is of another store or user.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            what = f"cannot be a folder for credentials: {words(error)}"
            raise find_lack(error) or InputRejected(what, str(self.folder)) from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise InputRejected("is not writable", str(self.folder), "choose another folder")
        for role, access_key in users.items():
            found = self._read(self.path(role))
            if found and (found.get(_URL), found.get(_ACCESS_KEY)) != (self._store.url, access_key):
                what = f"has the credentials of {found.get(_ACCESS_KEY)} at {found.get(_URL)}"
                raise InputRejected(what, str(self.path(role)), "choose another folder, or move that file away")

    def path(self, role: str) -> Path:
        """Give the file of a role."""
        return self.folder / f"{role}.env"

    def write_secret(self, role: str, access_key: str, *, renew: bool) -> str:
        """Give a secret for the user, in a file already, beside the one in force: the one that is there if the server
        lost the user, else a fresh one. ``keep`` puts it in force."""
        known = None if renew else self._secret(self.path(role)) or self._secret(self._waiting(role))
        secret = known or secrets.token_urlsafe(_SECRET_BYTES)
        values = {_URL: self._store.url, _ACCESS_KEY: access_key, _SECRET_KEY: secret}
        _write_private(self._waiting(role), "".join(f"{name}={value}\n" for name, value in values.items()))
        return secret

    def keep(self, role: str) -> None:
        """Put in force, now that the server has it, the secret that ``write_secret`` gave."""
        try:
            self._waiting(role).replace(self.path(role))
        except OSError as error:
            raise failure(str(self.path(role)), error) from error

    def recover(self, role: str, is_right: Callable[[str], bool]) -> bool:
        """Tell whether the role's file has the secret in force; ``is_right`` asks the server. A waiting one that turns
        out to be it takes the file's place, a waiting one that is not goes."""
        waiting = self._secret(self._waiting(role))
        if waiting is not None and is_right(waiting):
            self.keep(role)
            return True
        secret = self._secret(self.path(role))
        right = secret is not None and is_right(secret)
        if right:
            self._waiting(role).unlink(missing_ok=True)
        return right

    def write_token(self, role: str) -> None:
        """Have the token of the secret in force in ``FOLDER/<role>.token``."""
        found = self._read(self.path(role))
        _write_private(self.folder / f"{role}.token", metrics_token(found[_ACCESS_KEY], found[_SECRET_KEY]))

    def _waiting(self, role: str) -> Path:
        return self.folder / f"{role}.env.new"

    def _secret(self, file: Path) -> str | None:
        return self._read(file).get(_SECRET_KEY)

    @staticmethod
    def _read(file: Path) -> dict[str, str]:
        try:
            lines = read_named(file, MAX_SETTING_BYTES).decode().splitlines()
        except FileNotFoundError:
            return {}
        except (OSError, InputRejected, UnicodeDecodeError) as error:
            raise InputRejected("cannot be read as a file of credentials", str(file), "move it away") from error
        return dict(line.split("=", 1) for line in lines if "=" in line)


def _write_private(file: Path, text: str) -> None:
    """Whole or not at all, and at no moment readable by others."""
    part = file.with_name(f"{file.name}.part")
    try:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    except OSError as error:
        raise failure(str(file), error) from error


class GivenSecrets:
    """Secrets in a folder that somebody else filled. Raises InputRejected when it is none or cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise InputRejected("is not a folder", str(folder))
        try:
            self._roles = frozenset(entry.name for entry in folder.iterdir() if (entry / _SECRET_KEY).is_file())
        except OSError as error:
            raise find_lack(error) or InputRejected(f"cannot be read: {words(error)}", str(folder)) from error

    def __contains__(self, role: str) -> bool:
        return role in self._roles

    def secret(self, role: str, access_key: str) -> str:
        """Give the secret of the role's user. Raises InputRejected when the folder names another user for the role."""
        named = self._value(Path(role, _ACCESS_KEY))
        if named != access_key:
            raise InputRejected(f"expected {access_key}, got {named}", str(self.folder / role / _ACCESS_KEY))
        return self._value(Path(role, _SECRET_KEY))

    def find_ledger_root(self) -> str | None:
        """Give the password of the root user of the ledger's server, if it is given."""
        return self._value(_LEDGER_ROOT) if (self.folder / _LEDGER_ROOT).is_file() else None

    def find_ledger_user(self, role: str) -> tuple[str, str] | None:
        """Name and password of the ledger's user in this role, if they are given, in ``ledger-<role>``."""
        folder = Path(f"ledger-{role}")
        if not (self.folder / folder).is_dir():
            return None
        return self._value(folder / _LEDGER_USER), self._value(folder / _LEDGER_PASSWORD)

    def _value(self, name: Path) -> str:
        file = self.folder / name
        try:
            value = read_named(file, MAX_SETTING_BYTES).decode().strip()
        except (OSError, InputRejected, UnicodeDecodeError) as error:
            raise InputRejected("cannot be read", str(file)) from error
        if not value:
            raise InputRejected("is empty", str(file))
        return value
