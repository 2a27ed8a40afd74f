"""Making buckets and users on a real MinIO: again and again, and each user can do its own work and nothing else."""

from __future__ import annotations

import io
import itertools
import secrets

import pytest
from minio import Minio as Client
from minio import MinioAdmin
from minio.commonconfig import Filter
from minio.credentials.providers import AssumeRoleProvider, StaticProvider
from minio.error import MinioAdminException, S3Error
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from devkit.contracts.objects import hide, show
from lookout.domain.errors import Denied, InputRejected, Unavailable
from lookout.object_store.minio import MinioStore
from lookout.object_store.minio.admin import make_users, user_name
from lookout.object_store.minio.buckets import BucketFacts, find_buckets, make_buckets
from lookout.object_store.minio.names import FILE_ENDINGS
from lookout.object_store.minio.policies import Role, roles
from lookout.uploader.upload import find_files, upload
from stages.pipeline import PIPELINE
from tests.services.minio_kit import Minio

pytestmark = pytest.mark.services

REFERENCES = {stage.references.bucket for stage in PIPELINE.stages if stage.references}
READS = {
    stage.name: tuple(
        [read.bucket for read in stage.reads] + ([stage.references.bucket] if stage.references is not None else [])
    )
    for stage in PIPELINE.stages
}
ROLES = roles(PIPELINE.inputs, READS, sorted(REFERENCES), FILE_ENDINGS)
BUCKETS = (PIPELINE.inputs, *sorted(REFERENCES), *READS)


@pytest.fixture(scope="module")
def minio(minio):
    return Minio(minio)


# --- buckets ---------------------------------------------------------------------------------------------------------


def test_buckets_are_made_once_versioned_and_with_a_rule(minio):
    store = minio.store()
    assert {fact.exists for fact in find_buckets(store, BUCKETS)} == {False}
    made = make_buckets(store, BUCKETS)
    assert [state.full_name for state in made] == [f"{store.prefix}{bucket}" for bucket in BUCKETS]
    assert {state.done for state in made} == {("made", "replaced and removed versions go after 30 days")}
    assert {state.done for state in make_buckets(store, BUCKETS)} == {()}
    assert find_buckets(store, ["images"]) == [
        BucketFacts(bucket="images", full_name=f"{store.prefix}images", exists=True, versioned=True, keeps_days=30)
    ]


def test_an_existing_bucket_gets_what_it_lacks_and_keeps_what_it_has(minio):
    store = minio.store()
    name, client = store.full("images"), store.connection.client
    client.make_bucket(name)
    client.put_object(name, "a", io.BytesIO(b"1"), 1)
    theirs = Rule(status="Enabled", rule_filter=Filter(prefix="tmp/"), rule_id="theirs", expiration=Expiration(days=3))
    client.set_bucket_lifecycle(name, LifecycleConfig([theirs]))
    (state,) = make_buckets(store, ["images"])
    assert state.done == (
        "versioning turned on; what was overwritten before is lost",
        "replaced and removed versions go after 30 days",
    )
    assert [rule.rule_id for rule in client.get_bucket_lifecycle(name).rules] == ["theirs", "lookout-replaced-versions"]
    assert client.get_object(name, "a").read() == b"1"
    assert make_buckets(store, ["images"], keep_days=90)[0].done == ("replaced and removed versions go after 90 days",)
    assert len(client.get_bucket_lifecycle(name).rules) == 2


def test_nothing_is_made_when_a_name_or_a_time_cannot_be(minio):
    store = minio.store()
    for buckets, days in ((["images", "No_Bucket"], 30), (["images"], 1)):
        with pytest.raises(InputRejected):
            make_buckets(store, buckets, keep_days=days)
    assert not store.exists("images")


def test_buckets_without_versions_are_refused_when_written(minio):
    store = minio.store()
    store.connection.client.make_bucket(store.full("images"))
    with pytest.raises(Unavailable, match="keeps no versions; run `lookout init`"):
        store.put("images", "a", b"1", "image/jpeg")


# --- users -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(minio):
    """A server with buckets, one object in each, users; the admin's store and one store a role."""
    admin = minio.store(*BUCKETS)
    refs = {bucket: admin.put(bucket, "given/a.jpg", b"1", "text/plain") for bucket in BUCKETS}
    users = make_users(admin, ROLES, lambda: secrets.token_urlsafe(24))
    stores = {
        user.role: minio.open(prefix=admin.prefix, access_key=user.access_key, secret_key=user.secret_key)
        for user in users
    }
    return admin, refs, stores


def outcome(act) -> bool:
    """Tell whether it was allowed."""
    try:
        act()
    except Denied:
        return False
    return True


def what_may(store: MinioStore, ref) -> set[str]:
    """Every kind of call, tried on one bucket."""
    bucket = store.full(ref.bucket)
    acts = {
        "get": lambda: store.get(ref),
        "list": lambda: list(store.list(ref.bucket)),
        "versions": lambda: list(store.versions(ref.bucket)),
        "put": lambda: store.put(ref.bucket, "tried/a.jpg", b"2", "text/plain"),
        "hide": lambda: store.connection.delete(bucket, "tried/a.jpg"),
        "erase": lambda: store.connection.delete(bucket, "tried/a.jpg", "11111111-1111-1111-1111-111111111111"),
        "make": lambda: make_buckets(store, [f"{ref.bucket}-x"]),
        "set rules": lambda: make_buckets(store, [ref.bucket], keep_days=77),
    }
    return {name for name, act in acts.items() if outcome(act)}


READING = {"get", "list", "versions"}
WRITING = READING | {"put", "hide", "erase"}


@pytest.mark.parametrize(("role", "bucket"), list(itertools.product([role.name for role in ROLES], BUCKETS)))
def test_each_user_may_do_what_its_role_says_and_nothing_else(site, role, bucket):
    _, refs, stores = site
    given = next(item for item in ROLES if item.name == role)
    expected = WRITING if bucket in given.writes else READING if bucket in given.reads else set()
    if bucket in given.puts:
        expected = expected | {"put"} | ({"list", "versions"} if given.transfers else set())
    assert what_may(stores[role], refs[bucket]) == expected


@pytest.mark.parametrize("stage", READS)
def test_a_stage_can_do_all_of_its_own_work(site, stage):
    _, refs, stores = site
    store = stores[stage]
    for bucket in READS[stage]:
        assert store.get(refs[bucket]) == b"1"
    old = store.put(stage, "work", b"old", "text/plain")
    store.publish([show(old)])
    new = store.put(stage, "work", b"new", "text/plain")
    store.publish([show(old)])
    assert store.has([old, new]) == [True, True]
    store.discard([new])
    store.publish([hide(stage, "work")])
    assert "work" not in [found.key for found in store.list(stage)]


def test_an_uploader_puts_without_looking(site, tmp_path):
    admin, _, stores = site
    (tmp_path / "a.jpg").write_bytes(b"picture")
    for _ in range(2):
        (uploaded,) = upload(stores["uploader"], "images", find_files([tmp_path / "a.jpg"], "new/"))
        assert uploaded.is_new
        assert admin.get(uploaded.ref) == b"picture"


def test_making_users_again_does_nothing_and_gives_no_secret(site):
    admin, _, _ = site
    again = make_users(admin, ROLES, lambda: pytest.fail("no secret is needed"))
    assert {(user.done, user.secret_key) for user in again} == {((), None)}


def test_a_policy_that_was_changed_is_set_right(site):
    admin, refs, stores = site
    loose = Role(name="plot", reads=("rules",), writes=("plot", "images"))
    assert make_users(admin, [loose], secrets.token_urlsafe)[0].done == ("policy set",)
    plot = next(role for role in ROLES if role.name == "plot")
    assert make_users(admin, [plot], secrets.token_urlsafe)[0].done == ("policy set",)
    with pytest.raises(Denied):
        stores["plot"].get(refs["rules"])


def test_a_renewed_secret_ends_the_old_one(minio):
    admin = minio.store("images")
    role = Role(name="reader", reads=("images",))
    ref = admin.put("images", "a", b"1", "text/plain")
    (first,) = make_users(admin, [role], lambda: "first-secret")
    (second,) = make_users(admin, [role], lambda: "second-secret", renew=True)
    assert (first.done, second.done) == (("policy set", "made"), ("secret renewed",))
    assert first.access_key == user_name(admin.prefix, role)
    with pytest.raises(Unavailable, match="LOOKOUT_STORE_SECRET_KEY"):
        minio.open(prefix=admin.prefix, access_key=first.access_key, secret_key="first-secret").get(ref)
    assert minio.open(prefix=admin.prefix, access_key=first.access_key, secret_key="second-secret").get(ref) == b"1"
    assert "second-secret" not in repr(second)


# --- what a user could make of itself --------------------------------------------------------------------------------


def as_admin(store: MinioStore) -> MinioAdmin:
    access = store.access
    provider = StaticProvider(access.access_key, access.secret_key)
    return MinioAdmin(endpoint=access.endpoint, credentials=provider, secure=access.secure)


def session(store: MinioStore) -> Client:
    """A client with temporary credentials of the store's user: MinIO has no right that would refuse these."""
    access = store.access
    provider = AssumeRoleProvider(
        sts_endpoint=access.url, access_key=access.access_key, secret_key=access.secret_key, duration_seconds=604_800
    )
    provider.retrieve()  # and no others later
    return Client(access.endpoint, credentials=provider, secure=False)


def put_as(client: Client, bucket: str) -> str:
    """Try a PUT and return its outcome: ``done``, or the server's code."""
    try:
        client.put_object(bucket, "tried/a.jpg", io.BytesIO(b"1"), 1)
    except S3Error as error:
        return error.code
    return "done"


@pytest.mark.parametrize("role", [role.name for role in ROLES])
def test_no_user_makes_service_accounts_or_sets_its_own_secret(site, role):
    _, _, stores = site
    own = stores[role]
    with pytest.raises(MinioAdminException, match="AccessDenied"):
        as_admin(own).add_service_account(access_key=f"{role}-more", secret_key="a-second-way-in")
    with pytest.raises(MinioAdminException, match="AccessDenied"):
        as_admin(own).user_add(own.access.access_key, "a-secret-of-its-own")


@pytest.mark.parametrize("role", [role.name for role in ROLES])
def test_temporary_credentials_of_a_user_are_good_for_nothing(site, role):
    _, _, stores = site
    client = session(stores[role])
    for bucket in BUCKETS:
        assert put_as(client, stores[role].full(bucket)) == "AccessDenied"
        with pytest.raises(S3Error, match="AccessDenied"):
            list(client.list_objects(stores[role].full(bucket)))


def test_renewal_removes_service_accounts_and_revokes_temporary_credentials(minio):
    """Made as in versions whose policies did not deny them."""
    admin, role = minio.store("images"), Role(name="uploader", puts=("images",))
    (user,) = make_users(admin, [role], lambda: "first-secret")
    loose = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
    as_admin(admin).policy_add(user.policy, policy={"Version": "2012-10-17", "Statement": [loose]})
    own = minio.open(prefix=admin.prefix, access_key=user.access_key, secret_key="first-secret")
    left = f"{user.access_key}-left"
    as_admin(own).add_service_account(access_key=left, secret_key="a-second-way-in")
    clients = {
        "service account": Client(own.access.endpoint, access_key=left, secret_key="a-second-way-in", secure=False),
        "session": session(own),
    }
    bucket = admin.full("images")
    assert {name: put_as(client, bucket) for name, client in clients.items()} == dict.fromkeys(clients, "done")
    (again,) = make_users(admin, [role], lambda: "second-secret", renew=True)
    assert again.done == ("policy set", "secret renewed", f"service account {left} removed")
    as_admin(admin).policy_add(user.policy, policy={"Version": "2012-10-17", "Statement": [loose]})
    assert {put_as(client, bucket) for client in clients.values()} == {"InvalidAccessKeyId"}


def test_the_policy_alone_ends_derived_credentials_that_are_left(minio):
    admin, role = minio.store("images"), Role(name="uploader", puts=("images",))
    (user,) = make_users(admin, [role], lambda: "first-secret")
    loose = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
    as_admin(admin).policy_add(user.policy, policy={"Version": "2012-10-17", "Statement": [loose]})
    own = minio.open(prefix=admin.prefix, access_key=user.access_key, secret_key="first-secret")
    as_admin(own).add_service_account(access_key=f"{user.access_key}-left", secret_key="a-second-way-in")
    left = f"{user.access_key}-left"
    client = Client(own.access.endpoint, access_key=left, secret_key="a-second-way-in", secure=False)
    assert put_as(client, admin.full("images")) == "done"
    make_users(admin, [role], lambda: pytest.fail("no secret is needed"))
    assert put_as(client, admin.full("images")) == "AccessDenied"
    own.put("images", "a.jpg", b"1", "image/jpeg")


# --- what would hide other objects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["uploader", "engine"])
@pytest.mark.parametrize("key", ["cam1", "site/cam1", "cam.1", "a.jpg/b.jpg", "a.JPG/c/b.png", "x/a.jpeg/b"])
def test_no_user_puts_an_object_beside_which_others_would_be_in_no_listing(site, role, key):
    _, _, stores = site
    with pytest.raises(Denied):
        stores[role].put("images", key, b"1", "image/jpeg")


@pytest.mark.parametrize("role", ["uploader", "engine"])
@pytest.mark.parametrize("key", ["cam1/a.jpg", "cam1/b.JPG", "192.168.0.7/2025/c.jpeg", "notes.txt"])
def test_a_user_puts_what_lies_in_folders(site, role, key):
    _, _, stores = site
    stores[role].put("images", key, b"1", "image/jpeg")


# --- who makes users -------------------------------------------------------------------------------------------------


def test_only_an_administrator_makes_users(site, minio):
    admin, _, stores = site
    with pytest.raises(Unavailable, match="refuses to administer users"):
        make_users(stores["engine"], ROLES, secrets.token_urlsafe)
    with pytest.raises(Unavailable):
        make_users(minio.open(secret_key="wrong-secret"), ROLES, secrets.token_urlsafe)
    with pytest.raises(InputRejected, match="at least 8"):
        make_users(admin, [Role(name="short", reads=("images",))], lambda: "short")
