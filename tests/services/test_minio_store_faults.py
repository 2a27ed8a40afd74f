"""The MinIO store in trouble, and in what only a versioned bucket does: late PUTs, markers, fallbacks."""

from __future__ import annotations

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from urllib3.exceptions import ProtocolError

from devkit.contracts.objects import BUCKET, hide, show
from devkit.servers.for_tests import MinioServer, Proxy, make_certificates
from lookout.domain.errors import InputRejected, LookoutError, ObjectMissing, Unavailable
from lookout.domain.identity import sha256
from lookout.domain.records import ObjectRef
from lookout.object_store.minio.admin import make_users
from lookout.object_store.minio.policies import Role
from tests.services.minio_kit import Minio

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def minio(minio):
    return Minio(minio)


@pytest.fixture
def store(minio):
    return minio.store(BUCKET)


def put(store, key: str, data: bytes = b"1") -> ObjectRef:
    return store.put(BUCKET, key, data, "application/json")


def kinds(store, key: str) -> list[str]:
    """The versions of a key from the newest: their bytes, or a marker."""
    full = store.full(BUCKET)
    return [
        "marker" if entry.is_marker else store.connection.read(full, key, entry.version).decode()
        for entry in store.versions_of(BUCKET, key)
    ]


def plain(store, key: str) -> bytes | None:
    """Return the bytes that a reader of the plain key gets."""
    return store.connection.read(store.full(BUCKET), key)


def await_true(condition) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def raising(error):
    def raise_it(*args, **options):
        raise error

    return raise_it


# --- what lies on top ------------------------------------------------------------------------------------------------


def test_a_version_that_is_on_top_is_published_by_looking(store):
    ref = put(store, "a")
    store.publish([show(ref)])
    assert kinds(store, "a") == ["1"]


def test_a_late_put_is_covered_by_the_named_version_once(store):
    named = put(store, "a", b"named")
    store.publish([show(named)])
    late = put(store, "a", b"late")
    for _ in range(3):
        store.publish([show(named)])
    assert kinds(store, "a") == ["named", "late", "named"]
    seen = store.connection.stat(store.full(BUCKET), "a")
    assert (seen.sha256, seen.content_type, seen.copy_of) == (named.sha256, "application/json", named.version)
    store.discard([late])
    assert plain(store, "a") == b"named"


def test_equal_bytes_that_were_only_put_do_not_count_as_published(store):
    """Whoever put them may discard them, and what lay below would be visible again."""
    named = put(store, "a", b"same")
    put(store, "a", b"between")
    twin = put(store, "a", b"same")
    store.publish([show(named)])
    store.discard([twin])
    assert plain(store, "a") == b"same"


def test_a_key_is_hidden_by_one_marker_however_often_it_is_asked(store):
    store.publish([show(put(store, "a")), hide(BUCKET, "never")])
    for _ in range(3):
        store.publish([hide(BUCKET, "a"), hide(BUCKET, "never")])
    assert (kinds(store, "a"), kinds(store, "never")) == (["marker", "1"], [])


def test_of_several_changes_of_a_key_only_the_last_is_made(store):
    first, second = put(store, "a", b"1"), put(store, "a", b"2")
    store.publish([show(first), hide(BUCKET, "a"), show(second)])
    assert kinds(store, "a") == ["2", "1"]


def test_a_discarded_version_uncovers_what_lay_below(store):
    below = put(store, "a", b"below")
    store.publish([show(below)])
    store.discard([put(store, "a", b"refused")])
    assert plain(store, "a") == b"below"


def test_content_outlives_its_version_in_a_copy(store):
    named = put(store, "a", b"named")
    put(store, "a", b"late")
    store.publish([show(named)])
    assert store.collect(time.time() + 3600) == 2
    assert kinds(store, "a") == ["named"]
    assert (store.get(named), store.has([named])) == (b"named", [True])
    store.publish([show(named)])
    assert kinds(store, "a") == ["named"]


def test_one_change_that_fails_does_not_stop_the_others(store):
    refs = [put(store, f"{number}") for number in range(30)]
    store.publish([hide(BUCKET, ref.key) for ref in refs])
    lost = put(store, "lost")
    store.discard([lost])
    with pytest.raises(ObjectMissing, match="lost"):
        store.publish([show(lost), *(show(ref) for ref in refs)])
    assert len(list(store.list(BUCKET))) == 30


def test_a_version_handle_of_another_store_is_found_by_content(store):
    ref = put(store, "a")
    for version in ("/photos", "0" * 32, "../../x", None):
        other = ObjectRef(bucket=BUCKET, key="a", sha256=ref.sha256, size=ref.size, version=version)
        assert (store.get(other), store.has([other])) == (b"1", [True])
        store.discard([other])
    assert kinds(store, "a") == ["1"]


def test_collect_leaves_buckets_alone_that_are_not_given(minio):
    store = minio.store(BUCKET)
    put(store, "a", b"1")
    put(store, "a", b"2")
    assert minio.open(prefix=store.prefix).collect(time.time() + 3600) == 0
    assert minio.open(prefix=store.prefix, collected=("not-there", BUCKET)).collect(time.time() + 3600) == 1


# --- who is refused, and how it is told ------------------------------------------------------------------------------


def every_call(store, ref):
    return [
        lambda: store.get(ref),
        lambda: store.has([ref]),
        lambda: store.put(BUCKET, "b", b"1", "text/plain"),
        lambda: store.publish([show(ref)]),
        lambda: store.publish([hide(BUCKET, "a")]),
        lambda: list(store.list(BUCKET)),
        lambda: store.discard([ref]),
        lambda: store.collect(0),
    ]


def all_refuse(store, ref, words: str, secret: str = "no-secret") -> None:
    for call in every_call(store, ref):
        with pytest.raises(Unavailable) as caught:
            call()
        assert words in str(caught.value)
        assert secret not in repr(caught.value)
        assert isinstance(pickle.loads(pickle.dumps(caught.value)), LookoutError)


def test_credentials_that_are_not_right_are_named_and_not_shown(minio, store):
    ref = put(store, "a")
    shared = {"prefix": store.prefix, "collected": [BUCKET]}
    wrong = minio.open(secret_key="wrong-secret", **shared)
    assert "wrong-secret" not in repr(wrong) + repr(wrong.access)
    all_refuse(wrong, ref, "LOOKOUT_STORE_SECRET_KEY", "wrong-secret")
    all_refuse(minio.open(access_key="nobody", **shared), ref, "the server does not know the access key")


def test_a_user_that_is_removed_while_it_works_is_told_so(minio, store):
    ref = put(store, "a")
    (user,) = make_users(store, [Role(name="worker", writes=(BUCKET,))], lambda: "a-long-secret")
    worker = minio.open(prefix=store.prefix, access_key=user.access_key, secret_key=user.secret_key)
    assert worker.get(ref) == b"1"
    make_users(store, [Role(name="worker", writes=(BUCKET,))], lambda: "another-secret", renew=True)
    with pytest.raises(Unavailable, match="LOOKOUT_STORE_SECRET_KEY"):
        worker.get(ref)


def test_a_clock_that_is_wrong_is_named(store, monkeypatch):
    ref = put(store, "a")
    monkeypatch.setattr("minio.time.utcnow", lambda: datetime.now(UTC) - timedelta(hours=1))
    for call in (lambda: store.get(ref), lambda: store.has([ref]), lambda: put(store, "b")):
        with pytest.raises(Unavailable, match="clocks of this machine and of the server differ"):
            call()


def test_a_bucket_that_is_not_there_says_what_to_do(minio):
    store = minio.open(prefix="nowhere-")
    ref = ObjectRef(bucket=BUCKET, key="a", sha256=sha256(b""), size=0)
    for call in (lambda: put(store, "a"), lambda: store.get(ref), lambda: store.publish([show(ref)])):
        with pytest.raises(Unavailable, match="run `lookout init`"):
            call()
    assert list(store.list(BUCKET)) == []
    assert store.collect(0) == 0


def test_a_bucket_that_cannot_be_is_refused(minio):
    for bucket in ("", "a", "A-b", "a_b", "a..b", "-ab", "x" * 64, "a/b", "../x"):
        with pytest.raises(InputRejected):
            minio.open().put(bucket, "a", b"1", "text/plain")


# --- a server that does not answer -----------------------------------------------------------------------------------


def test_a_server_that_is_not_there_is_unavailable_soon(minio, store):
    ref = put(store, "a")
    with Proxy(minio.server.endpoint) as proxy:
        proxy.refuse()
        away = minio.open(endpoint=proxy.endpoint, prefix=store.prefix)
        started_s = time.monotonic()
        with pytest.raises(Unavailable, match="cannot be reached"):
            away.get(ref)
        assert time.monotonic() - started_s < 10
        proxy.accept()
        assert away.get(ref) == b"1"


def test_a_frozen_server_is_given_up_in_time_and_used_again(tmp_path):
    server = MinioServer(tmp_path / "minio").start()
    store = Minio(server).store(BUCKET, timeout_s=0.3)
    ref = put(store, "a")
    server.freeze()
    with pytest.raises(Unavailable, match="did not answer in time"):
        store.get(ref)
    server.thaw()
    assert store.get(ref) == b"1"
    server.kill()
    with pytest.raises(Unavailable):
        put(store, "b")
    server.start()
    assert store.get(ref) == b"1"
    store.publish([show(put(store, "b"))])
    server.stop()


def test_a_connection_that_is_cut_is_made_again_by_reads_and_writes(minio, store):
    data = bytes(range(256)) * 8_000
    ref = put(store, "a", data)
    with Proxy(minio.server.endpoint, bytes_per_s=4_000_000) as proxy, ThreadPoolExecutor(1) as other:
        far = minio.open(endpoint=proxy.endpoint, prefix=store.prefix)
        reading = other.submit(far.get, ref)
        await_true(lambda: proxy.connections > 0)
        proxy.cut()
        assert reading.result(30) == data
        before = proxy.accepted
        proxy.cut()
        writing = other.submit(put, far, "b", data)
        await_true(lambda: proxy.accepted > before and proxy.connections > 0)
        proxy.cut()
        written = writing.result(30)
    assert store.get(written) == data
    store.publish([show(written)])
    assert plain(store, "b") == data


def test_a_body_that_ends_too_early_is_read_again(store, monkeypatch):
    """The server's answer breaks off in the middle, as when it is killed."""
    ref = put(store, "a", b"0123456789")
    asked = store.connection.client.get_object
    broken = []

    def break_off(*args, **options):
        response = asked(*args, **options)
        if len(broken) < 2:
            broken.append(response)
            monkeypatch.setattr(response, "read", raising(ProtocolError("Connection broken: IncompleteRead")))
        return response

    monkeypatch.setattr(store.connection.client, "get_object", break_off)
    assert store.get(ref) == b"0123456789"
    assert len(broken) == 2


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_a_server_with_a_private_authority_is_trusted_by_its_file_only(tmp_path):
    certificates = make_certificates(tmp_path / "certificates")
    server = MinioServer(tmp_path / "minio", tls=certificates).start()
    minio = Minio(server)
    store = minio.store(BUCKET, secure=True, ca=str(certificates.ca))
    ref = put(store, "a", b"secret picture")
    store.publish([show(ref)])
    twin = pickle.loads(pickle.dumps(store))
    assert (twin.get(ref), [found.key for found in twin.list(BUCKET)]) == (b"secret picture", ["a"])
    with pytest.raises(Unavailable, match="LOOKOUT_STORE_CA"):
        minio.open(secure=True, prefix=store.prefix).get(ref)
    with pytest.raises(Unavailable):
        minio.open(secure=False, prefix=store.prefix).get(ref)
    with pytest.raises(InputRejected, match="no such file"):
        minio.open(secure=True, ca=str(tmp_path / "nothing.pem")).get(ref)
    server.stop()
