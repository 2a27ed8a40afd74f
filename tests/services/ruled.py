"""A deployment whose etcd lets nobody in without a password, with a user of the ledger for each role."""

from __future__ import annotations

from typing import Any, Final

from devkit.servers.for_tests import EtcdServer
from lookout.ledger.etcd import Address
from tests.services.cli_kit import STAGES, Site

ROLES: Final = (*STAGES, "intake", "reader")
ROOT_PASSWORD: Final = "root-of-the-test"


def password(user: str) -> str:
    return f"password-of-{user}"


def name(prefix: str, role: str = "operator") -> str:
    return f"{prefix}{role}"


def credentials(prefix: str, role: str = "operator") -> dict[str, str]:
    """The variables of the ledger's user in this role."""
    user = name(prefix, role)
    return {"LOOKOUT_LEDGER_USER": user, "LOOKOUT_LEDGER_PASSWORD": password(user)}


def address(etcd: EtcdServer, prefix: str, role: str = "operator") -> Address:
    user = name(prefix, role)
    return Address(endpoints=(etcd.endpoint,), user=user, password=password(user))


def give_ledger(site: Site, prefix: str, secrets: str = "ledger-secrets") -> None:
    """Secrets of root and of each role, as a cluster shows them, in a folder of the site."""
    folders = {"ledger-root": {"LOOKOUT_LEDGER_ROOT_PASSWORD": ROOT_PASSWORD}}
    folders |= {f"ledger-{role}": credentials(prefix, role) for role in ROLES}
    for folder, values in folders.items():
        made = site.root / secrets / folder
        made.mkdir(parents=True, exist_ok=True)
        for file, value in values.items():
            (made / file).write_text(value)


class RuledSite(Site):
    """A site whose ledger each stage opens as its own user, and everybody else as the operator."""

    @property
    def prefix(self) -> str:
        return self.environment["LOOKOUT_LEDGER"].rpartition("/")[2]

    def begin(self) -> Any:
        give_ledger(self, self.prefix)
        self.lookout("init", "--secrets", "ledger-secrets")
        return super().begin()

    def be(self, role: str) -> dict[str, str]:
        return super().be(role) | (credentials(self.prefix, role) if role in STAGES else {})
