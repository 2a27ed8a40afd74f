"""``lookout init``: buckets and users on the store's server, and a check of the ledger. Can be repeated."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click

from lookout.app.credentials import Credentials, GivenSecrets
from lookout.app.deployment import Program, open_minio
from lookout.app.provisioning import Prepared, Provisioner, bucket_roles, make_ledger_users, patiently
from lookout.cli.options import PATH, gather, json_option
from lookout.cli.output import echo_json
from lookout.config.addresses import StoreAddress
from lookout.domain.errors import EXIT_DATUM_FAILED, EXIT_OK, InputRejected
from lookout.domain.records import JsonObject
from lookout.text import printable, table

DEFAULT_KEEP_DAYS: Final = 30
LEAST_KEEP_DAYS: Final = 7
"""As ``lookout.object_store.minio.buckets`` has it; here so that ``--help`` need not load what speaks to servers."""
MOST_KEEP_DAYS: Final = 36_500
LONGEST_WAIT_S: Final = 3_600


@dataclass(frozen=True, kw_only=True)
class _Users:
    """Options about users: the ``folder`` for credentials, which ``renew`` replaces, or that of given ``secrets``."""

    folder: Path | None
    renew: bool
    secrets: Path | None

    def check(self) -> None:
        """Raise InputRejected for options that exclude each other."""
        if self.folder is not None and self.secrets is not None:
            what = "secrets are either written there or read there"
            raise InputRejected("not allowed with --users", "--secrets", what)
        if self.renew and self.folder is None:
            raise InputRejected("expected --users FOLDER with it", "--renew", "the new secrets become files in there")


@click.command(short_help="Make buckets, and users for the stages, on the store's server.")
@click.option(
    "--users", "folder", type=PATH, metavar="FOLDER", help="Make users too; their credentials become files in there."
)
@click.option("--renew", is_flag=True, help="Give every user a new secret; the old one is refused from then on.")
@click.option("--secrets", type=PATH, metavar="FOLDER", help="Make users with the secrets in there, also the ledger's.")
@click.option("--logs", is_flag=True, help="Make the bucket for the logs of a cluster's workflows too.")
@click.option("--notify", metavar="ARN", help="Notify this target of MinIO's of new pictures, models and rules.")
@click.option(
    "--hints", metavar="ARN", help="Beside --notify: give this target hints of new pictures, which may be lost."
)
@click.option(
    "--keep-days",
    type=click.IntRange(LEAST_KEEP_DAYS, MOST_KEEP_DAYS),
    default=DEFAULT_KEEP_DAYS,
    show_default=True,
    metavar="N",
    help="Days for which the server keeps replaced and removed versions, and logs.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.IntRange(0, LONGEST_WAIT_S),
    default=0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for servers that do not answer yet.",
)
@json_option
@gather("users", _Users)
@click.pass_obj
def init(
    program: Program,
    users: _Users,
    logs: bool,
    notify: str | None,
    hints: str | None,
    keep_days: int,
    wait_s: int,
    as_json: bool,
) -> None:
    """Make the buckets on the server of LOOKOUT_STORE: versioned, with old versions removed after some days.

    With --users or --secrets also a user a stage, one for a machine that runs all stages and one that only uploads,
    each with the least rights. This needs the server's own credentials. What is there and right is left alone.
    """
    if program.settings.store is None:
        raise InputRejected("is not set", "LOOKOUT_STORE", "buckets are made on a server; a state folder needs none")
    if hints is not None and notify is None:
        raise InputRejected("needs --notify too", "--hints", "a hint may be lost, so the events must be told beside it")
    users.check()
    store = open_minio(program.settings.store)
    provisioner = Provisioner(store=store, pipeline=program.pipeline, buckets=program.installation.buckets)
    wanted = bucket_roles(provisioner.pipeline)
    credentials = None if users.folder is None else Credentials(users.folder, program.settings.store)
    if credentials is not None:
        credentials.prepare({role.name: provisioner.user_name(role) for role in wanted})
    given = None if users.secrets is None else GivenSecrets(users.secrets)
    ledger_done = _prepare_ledger(program, given, wait_s)
    patiently(lambda: store.exists(program.pipeline.inputs), wait_s)
    made = provisioner.make_buckets(keep_days)
    if logs:
        made.append(provisioner.make_logs_bucket(keep_days))
    people = _make_users(provisioner, credentials, given, renew=users.renew)
    if notify is not None:
        told = provisioner.notify(notify, hints)
        made = [replace(item, done=(*item.done, *told.get(item.name, ()))) for item in made]
    ledger = None if program.settings.ledger is None else program.settings.ledger.url
    if as_json:
        _show_json(program.settings.store, ledger, ledger_done, made, people)
    else:
        click.echo(_as_text(program.settings.store, ledger, ledger_done, made, people))
    sys.exit(EXIT_DATUM_FAILED if any(user.problem for user in people) else EXIT_OK)


def _prepare_ledger(program: Program, given: GivenSecrets | None, wait_s: int) -> tuple[str, ...]:
    """Return its users, if root's password is given; then it must answer, let its own user in, and have a form that
    this program knows. What was done."""
    address, root_password = program.settings.ledger, None if given is None else given.find_ledger_root()
    if address is None:
        return ()
    done: tuple[str, ...] = ()
    if given is not None and root_password is not None:
        done = patiently(lambda: make_ledger_users(program.pipeline, address, root_password, given), wait_s)

    def look() -> None:
        with program.open(None, anew=True):  # before a lost ledger can be restored, its users must be there
            pass

    patiently(look, wait_s)
    return done


def _make_users(
    provisioner: Provisioner, credentials: Credentials | None, given: GivenSecrets | None, *, renew: bool
) -> list[Prepared]:
    from lookout.object_store.minio.policies import logs_role

    wanted = bucket_roles(provisioner.pipeline)
    if credentials is not None:
        return [provisioner.make_user_with_file(role, credentials, renew=renew) for role in wanted]
    if given is not None:
        asked = [role for role in (*wanted, logs_role()) if role.name in given]
        return [provisioner.make_user_as_given(role, given) for role in asked]
    return []


def _show_json(
    store: StoreAddress,
    ledger: str | None,
    ledger_done: Sequence[str],
    made: Sequence[Prepared],
    people: Sequence[Prepared],
) -> None:
    found = [{"bucket": item.name, "full_name": item.full_name, "done": item.done} for item in made]
    document: Mapping[str, object] = {
        "store": store.url,
        "ledger": ledger,
        "ledger_done": ledger_done,
        "buckets": found,
        "users": [_user_as_json(user) for user in people],
    }
    echo_json(document)


def _user_as_json(user: Prepared) -> JsonObject:
    return {
        "role": user.name,
        "access_key": user.full_name,
        "done": user.done,
        "file": user.file,
        "problem": user.problem,
    }


def _as_text(
    store: StoreAddress,
    ledger: str | None,
    ledger_done: Sequence[str],
    made: Sequence[Prepared],
    people: Sequence[Prepared],
) -> str:
    rows = [("bucket", item.full_name, "; ".join(item.done) or "right") for item in made]
    rows += [
        ("user", user.full_name, "; ".join((*user.done, user.problem or "")).strip("; ") or "right") for user in people
    ]
    parts = [
        f"store   {store.url}",
        "; ".join((f"ledger  {ledger or 'in the state folder'}", *ledger_done)),
        "",
        table(rows, ("what", "name", "done")),
    ]
    files = [user.file for user in people if user.file is not None]
    if files:
        parts += [
            "",
            f"Credentials are in {printable(str(Path(files[0]).parent))}/<user>.env, for nobody else to read.",
        ]
    return "\n".join(parts)
