"""``lookout init``: buckets and users on the store's server, and a ledger that answers; again without harm."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from lookout.addresses import StoreAddress
from lookout.cli.credentials import Credentials
from lookout.cli.options import PATH, json_option
from lookout.cli.output import echo_json, printable, table
from lookout.cli.state import buckets, open_minio, open_state
from lookout.datum import JsonObject
from lookout.errors import EXIT_DATUM_FAILED, EXIT_OK, InputRejected, Unavailable
from lookout.settings import Settings
from stages.pipeline import PIPELINE

if TYPE_CHECKING:
    from lookout.objects.minio import MinioStore
    from lookout.objects.minio.policies import Role

DEFAULT_KEEP_DAYS: Final = 30
LEAST_KEEP_DAYS: Final = 7
"""As ``lookout.objects.minio.buckets`` has it; here so that ``--help`` need not load what speaks to servers."""
MOST_KEEP_DAYS: Final = 36_500


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """One bucket or user: what was done to it in words (empty: it was right), the file of a user's credentials, and
    what a person has to do yet."""

    name: str
    full_name: str
    done: tuple[str, ...] = ()
    file: str | None = None
    problem: str | None = None


@click.command(short_help="Make buckets, and users for the stages, on the store's server.")
@click.option("--users", type=PATH, metavar="FOLDER", help="Make users too; their credentials become files in there.")
@click.option("--renew", is_flag=True, help="Give every user a new secret; the old one is refused from then on.")
@click.option(
    "--keep-days",
    type=click.IntRange(LEAST_KEEP_DAYS, MOST_KEEP_DAYS),
    default=DEFAULT_KEEP_DAYS,
    show_default=True,
    metavar="N",
    help="How many days the server keeps replaced and removed versions.",
)
@json_option
@click.pass_obj
def init(settings: Settings, users: Path | None, renew: bool, keep_days: int, as_json: bool) -> None:
    """Make the buckets on the server of LOOKOUT_STORE: versioned, and old versions go after a time.

    With --users also a user a stage, one for a machine that runs all stages and one that only uploads, each with the
    least rights. This needs the server's own credentials. What is there and right is left alone.
    """
    if settings.store is None:
        raise InputRejected("is not set", "LOOKOUT_STORE", "buckets are made on a server; a state folder needs none")
    if renew and users is None:
        raise InputRejected("expected --users FOLDER with it", "--renew", "the new secrets become files in there")
    store, wanted = open_minio(settings.store), roles_of_the_pipeline()
    credentials = None if users is None else Credentials(users, settings.store)
    if credentials is not None:
        credentials.prepare({role.name: _user_name(store, role) for role in wanted})
    if settings.ledger is not None:
        with open_state(settings, None):
            pass  # opened: it answers, lets this user in, and has a form that this program knows
    made = _make_buckets(store, keep_days)
    people = [_make_user(store, role, credentials, renew=renew) for role in wanted] if credentials is not None else []
    ledger = None if settings.ledger is None else settings.ledger.url
    if as_json:
        found = [{"bucket": item.name, "full_name": item.full_name, "done": item.done} for item in made]
        echo_json(
            {
                "store": settings.store.url,
                "ledger": ledger,
                "buckets": found,
                "users": [_user_as_json(user) for user in people],
            }
        )
    else:
        click.echo(_as_text(settings.store, ledger, made, people))
    sys.exit(EXIT_DATUM_FAILED if any(user.problem for user in people) else EXIT_OK)


def roles_of_the_pipeline() -> list[Role]:
    """Who needs which buckets: each stage those that it reads, its references included."""
    from lookout.objects.minio.policies import roles

    reads = {stage.name: [read.bucket for read in stage.reads] for stage in PIPELINE.stages}
    references = {stage.name: stage.references.bucket for stage in PIPELINE.stages if stage.references is not None}
    for name, bucket in references.items():
        reads[name].append(bucket)
    return roles(PIPELINE.inputs, reads, list(references.values()))


def _make_buckets(store: MinioStore, keep_days: int) -> list[Prepared]:
    from lookout.objects.minio.buckets import make_buckets

    return [
        Prepared(name=state.bucket, full_name=state.full_name, done=state.done)
        for state in make_buckets(store, buckets(), keep_days=keep_days)
    ]


def _user_name(store: MinioStore, role: Role) -> str:
    from lookout.objects.minio.admin import user_name

    return user_name(store.prefix, role)


def _make_user(store: MinioStore, role: Role, credentials: Credentials, *, renew: bool) -> Prepared:
    """One user at a time, so that each secret is in its file before the server hears of it."""
    from lookout.objects.minio.admin import make_users

    secret = partial(credentials.write_secret, role.name, _user_name(store, role), renew=renew)
    (user,) = make_users(store, [role], secret, renew=renew)
    file = credentials.path(role.name)
    made = Prepared(name=role.name, full_name=user.access_key, done=user.done, file=str(file))
    if user.secret_key is not None:
        credentials.keep(role.name)
        return made
    if credentials.recover(role.name, partial(_is_secret, store, user.access_key)):
        return made
    problem = f"the secret in {file} is not the user's" if file.exists() else "the user's secret is in no file there"
    return replace(made, file=None, problem=f"{problem}; --renew gives all users new ones")


def _is_secret(store: MinioStore, access_key: str, secret: str) -> bool:
    """Whether the server lets the user in with it. A right that is denied is denied to a user that was let in."""
    from lookout.objects.minio import MinioStore
    from lookout.objects.minio.errors import Denied

    access = store.access
    theirs = MinioStore(
        access.endpoint,
        access_key=access_key,
        secret_key=secret,
        secure=access.secure,
        prefix=store.prefix,
        ca=access.ca,
    )
    try:
        theirs.exists(PIPELINE.inputs)
    except Denied:
        return True
    except Unavailable:
        store.exists(PIPELINE.inputs)  # raises if not the secret but the server was the trouble
        return False
    return True


def _user_as_json(user: Prepared) -> JsonObject:
    return {
        "role": user.name,
        "access_key": user.full_name,
        "done": user.done,
        "file": user.file,
        "problem": user.problem,
    }


def _as_text(store: StoreAddress, ledger: str | None, made: Sequence[Prepared], people: Sequence[Prepared]) -> str:
    rows = [("bucket", item.full_name, "; ".join(item.done) or "right") for item in made]
    rows += [
        ("user", user.full_name, "; ".join((*user.done, user.problem or "")).strip("; ") or "right") for user in people
    ]
    parts = [
        f"store   {store.url}",
        f"ledger  {ledger or 'in the state folder'}",
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
