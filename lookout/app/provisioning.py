"""Provisioning, as ``lookout init`` does it, one step a function: buckets, users, the ledger's user, notifications.
Each may be done again and says what it changed. Prints nothing, and gives nobody a secret."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from lookout.app.credentials import Credentials, GivenSecrets
from lookout.config.addresses import LedgerAddress
from lookout.domain.errors import Unavailable
from lookout.domain.pipeline import Pipeline
from lookout.sources.deletion_guard import NOTES

if TYPE_CHECKING:
    from lookout.ledger.etcd.roles import LedgerRole
    from lookout.object_store.minio import MinioStore
    from lookout.object_store.minio.policies import Role

_PAUSE_S: Final = 0.5

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """Account of one bucket or user: what was done to it in words (empty: it was right), the file of a user's
    credentials, and what a person has to do yet."""

    name: str
    full_name: str
    done: tuple[str, ...] = ()
    file: str | None = None
    problem: str | None = None


def patiently(ask: Callable[[], T], patience_s: float) -> T:
    """Give what ``ask`` gives, asked again for so long while it raises Unavailable; then that is raised."""
    end_s = time.monotonic() + patience_s
    while True:
        try:
            return ask()
        except Unavailable:
            if time.monotonic() + _PAUSE_S > end_s:
                raise
        time.sleep(_PAUSE_S)


def bucket_roles(pipeline: Pipeline) -> list[Role]:
    """Give the buckets that each user needs: a stage those that it reads, its references included. Some need none."""
    from lookout.object_store.minio import policies
    from lookout.object_store.minio.names import FILE_ENDINGS

    reads = {stage.name: [read.bucket for read in stage.reads] for stage in pipeline.stages}
    references = _references(pipeline)
    for name, bucket in references.items():
        reads[name].append(bucket)
    made = policies.roles(pipeline.inputs, reads, list(references.values()), FILE_ENDINGS)
    return [*made, policies.metrics_role()]


@dataclass(frozen=True, kw_only=True)
class Provisioner:
    """Buckets and users of a deployment on its store's server, made with the server's own credentials."""

    store: MinioStore
    pipeline: Pipeline
    buckets: Sequence[str]

    def make_buckets(self, keep_days: int) -> list[Prepared]:
        """Give all buckets of the pipeline."""
        from lookout.object_store.minio import buckets as making

        made = making.make_buckets(self.store, self.buckets, keep_days=keep_days)
        return [Prepared(name=state.bucket, full_name=state.full_name, done=state.done) for state in made]

    def make_logs_bucket(self, keep_days: int) -> Prepared:
        """Give the bucket for the logs of a cluster's workflows."""
        from lookout.object_store.minio.buckets import make_passing_bucket
        from lookout.object_store.minio.policies import LOGS_BUCKET

        made = make_passing_bucket(self.store, LOGS_BUCKET, keep_days=keep_days)
        return Prepared(name=made.bucket, full_name=made.full_name, done=made.done)

    def notify(self, target: str, hints: str | None = None) -> dict[str, tuple[str, ...]]:
        """Let the buckets that others than the stages write tell the target, and that of the inputs give hints to the
        other; what was done, by bucket."""
        from lookout.object_store.minio.notifications import Target, notify

        wanted = {name: [Target(arn=target)] for name in (self.pipeline.inputs, *_references(self.pipeline).values())}
        if hints is not None:
            wanted[self.pipeline.inputs].append(Target(arn=hints, hints=True))
        return {state.bucket: state.done for state in notify(self.store, wanted)}

    def user_name(self, role: Role) -> str:
        """Give the access key of a role's user."""
        from lookout.object_store.minio import admin

        return admin.user_name(self.store.prefix, role)

    def make_user_with_file(self, role: Role, credentials: Credentials, *, renew: bool) -> Prepared:
        """Make one user at a time, so that each secret is in its file before the server hears of it."""
        from lookout.object_store.minio.admin import make_users

        secret = partial(credentials.write_secret, role.name, self.user_name(role), renew=renew)
        (user,) = make_users(self.store, [role], secret, renew=renew)
        file = credentials.path(role.name)
        made = Prepared(name=role.name, full_name=user.access_key, done=user.done, file=str(file))
        if user.secret_key is not None:
            credentials.keep(role.name)
        elif not credentials.recover(role.name, partial(self._is_secret, user.access_key)):
            problem = (
                f"the secret in {file} is not the user's" if file.exists() else "the user's secret is in no file there"
            )
            return replace(made, file=None, problem=f"{problem}; --renew gives all users new ones")
        if role.measures:
            credentials.write_token(role.name)
        return made

    def make_user_as_given(self, role: Role, secrets: GivenSecrets) -> Prepared:
        """Make a user with the secret that is given; one with another secret gets this one."""
        from lookout.object_store.minio.admin import make_users

        access_key = self.user_name(role)
        secret = secrets.secret(role.name, access_key)
        (user,) = make_users(self.store, [role], lambda: secret)
        if user.secret_key is None and not self._is_secret(access_key, secret):
            (user,) = make_users(self.store, [role], lambda: secret, renew=True)
        return Prepared(name=role.name, full_name=access_key, done=user.done)

    def _is_secret(self, access_key: str, secret: str) -> bool:
        """Tell whether the server lets the user in with it. A right that is denied is denied to a user that was let
        in."""
        from lookout.domain.errors import Denied
        from lookout.object_store.minio import MinioStore

        theirs = MinioStore(
            replace(self.store.access, access_key=access_key, secret_key=secret), prefix=self.store.prefix
        )
        try:
            theirs.exists(self.pipeline.inputs)
        except Denied:
            return True
        except Unavailable:
            self.store.exists(self.pipeline.inputs)  # raises if not the secret but the server was the trouble
            return False
        return True


def ledger_roles(pipeline: Pipeline) -> list[LedgerRole]:
    """Give the roles of the ledger beside its operator: each stage, the intake, and who only looks."""
    from lookout.app.stage_worker import MAILS
    from lookout.ledger.etcd import roles

    names = [stage.name for stage in pipeline.stages]
    readers = {stage.name for stage in pipeline.readers(pipeline.inputs)}
    found = [
        roles.stage(
            stage.name,
            before=[read.bucket for read in stage.reads if read.bucket in names],
            behind=names[number:],
            inputs=pipeline.inputs if stage.name in readers else None,
            notes=NOTES,
            alerts=stage.name == MAILS,
        )
        for number, stage in enumerate(pipeline.stages, start=1)
    ]
    return [*found, roles.intake(pipeline.inputs, sorted(readers), NOTES), roles.reader()]


def make_ledger_users(
    pipeline: Pipeline, address: LedgerAddress, root_password: str, secrets: GivenSecrets
) -> tuple[str, ...]:
    """Make the ledger's own users in etcd, those whose secrets are given, and nobody without a password; what was
    done."""
    from lookout.ledger.etcd import Address
    from lookout.ledger.etcd.roles import LedgerUser
    from lookout.ledger.etcd.users import demand_passwords

    given = [(role, secrets.find_ledger_user(role.name)) for role in ledger_roles(pipeline)]
    others = [LedgerUser(name=user[0], password=user[1], role=role) for role, user in given if user is not None]
    return demand_passwords(Address.of(address), f"/{address.prefix}", root_password, others)


def _references(pipeline: Pipeline) -> dict[str, str]:
    """Give the buckets of models and rules, by the stage that reads them."""
    return {stage.name: stage.references.bucket for stage in pipeline.stages if stage.references is not None}
