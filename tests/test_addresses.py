"""Addresses of the store and the ledger in the environment: which texts are addresses, and that no secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookout.config.addresses import DEFAULT_LEDGER_PREFIX, LedgerAddress, StoreAddress
from lookout.config.settings import Settings
from lookout.domain.errors import InputRejected
from lookout.ledger.etcd import Address

SECRET = "s3cret-of-the-store"
PASSWORD = "p4ssword-of-the-ledger"
KEYS = {"LOOKOUT_STORE_ACCESS_KEY": "me", "LOOKOUT_STORE_SECRET_KEY": SECRET}
USER = {"LOOKOUT_LEDGER_USER": "me", "LOOKOUT_LEDGER_PASSWORD": PASSWORD}


def store(url: str, **more: str) -> StoreAddress | None:
    return StoreAddress.from_environment({"LOOKOUT_STORE": url, **KEYS, **more})


def ledger(url: str, **more: str) -> LedgerAddress | None:
    return LedgerAddress.from_environment({"LOOKOUT_LEDGER": url, **more})


# --- the store -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", [{}, {"LOOKOUT_STORE": ""}, KEYS])
def test_without_an_address_the_store_is_the_folder(environment: dict[str, str]) -> None:
    assert StoreAddress.from_environment(environment) is None


@pytest.mark.parametrize(
    ("url", "endpoint", "secure", "prefix", "shown"),
    [
        ("s3+http://127.0.0.1:9000", "127.0.0.1:9000", False, "", "s3+http://127.0.0.1:9000"),
        ("s3+http://127.0.0.1:9000/", "127.0.0.1:9000", False, "", "s3+http://127.0.0.1:9000"),
        ("s3+https://minio.lookout.svc:443/site1-", "minio.lookout.svc:443", True, "site1-", None),
        ("s3+http://[::1]:65535/a", "[::1]:65535", False, "a", None),
        ("s3+http://my_host-2:1", "my_host-2:1", False, "", None),
    ],
)
def test_an_address_of_a_store(url: str, endpoint: str, secure: bool, prefix: str, shown: str | None) -> None:
    found = store(url)
    assert found is not None
    assert (found.endpoint, found.secure, found.prefix) == (endpoint, secure, prefix)
    assert (found.access_key, found.secret_key, found.ca) == ("me", SECRET, None)
    assert found.url == (shown or url)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:9000",
        "http://127.0.0.1:9000",
        "s3://bucket/prefix",
        "s3+ftp://127.0.0.1:9000",
        "s3+http://127.0.0.1",
        "s3+http://127.0.0.1:",
        "s3+http://127.0.0.1:0",
        "s3+http://127.0.0.1:65536",
        "s3+http://127.0.0.1:900000",
        "s3+http://:9000",
        "s3+http://me:s3cret-of-the-store@127.0.0.1:9000",
        "s3+http://127.0.0.1:9000/a/b",
        "s3+http://127.0.0.1:9000?secret=s3cret-of-the-store",
        "s3+http://127.0.0.1:9000#x",
        "s3+http://a b:9000",
        "s3+http://127.0.0.1:9000\n",
        " s3+http://127.0.0.1:9000",
    ],
)
def test_no_address_of_a_store(url: str) -> None:
    with pytest.raises(InputRejected) as caught:
        store(url)
    assert caught.value.where == "LOOKOUT_STORE"
    assert "s3+http://host:port" in caught.value.hint
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("missing", KEYS)
@pytest.mark.parametrize("how", ["unset", "empty"])
def test_a_store_needs_both_keys(missing: str, how: str) -> None:
    given = {name: value for name, value in KEYS.items() if name != missing} | ({missing: ""} if how == "empty" else {})
    with pytest.raises(InputRejected) as caught:
        StoreAddress.from_environment({"LOOKOUT_STORE": "s3+http://127.0.0.1:9000", **given})
    assert (caught.value.where, caught.value.what) == (missing, "is not set, and LOOKOUT_STORE is")
    assert SECRET not in str(caught.value)


# --- the ledger ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", [{}, {"LOOKOUT_LEDGER": ""}, USER])
def test_without_an_address_the_ledger_is_in_the_folder(environment: dict[str, str]) -> None:
    assert LedgerAddress.from_environment(environment) is None


@pytest.mark.parametrize(
    ("url", "endpoints", "secure", "prefix"),
    [
        ("etcd://127.0.0.1:2379", ("127.0.0.1:2379",), False, DEFAULT_LEDGER_PREFIX),
        ("etcd://127.0.0.1:2379/", ("127.0.0.1:2379",), False, DEFAULT_LEDGER_PREFIX),
        ("etcd://127.0.0.1:2379/site1", ("127.0.0.1:2379",), False, "site1"),
        ("etcd://127.0.0.1:2379//site1/", ("127.0.0.1:2379",), False, "site1"),
        ("etcd://127.0.0.1:2379/a/b", ("127.0.0.1:2379",), False, "a/b"),
        ("etcds://a:1,b:2,[::1]:3/x", ("a:1", "b:2", "[::1]:3"), True, "x"),
        ("etcd://h:1,10.0.0.1:2/", ("h:1", "10.0.0.1:2"), False, DEFAULT_LEDGER_PREFIX),
        ("etcds://[::1]:1/site/a/", ("[::1]:1",), True, "site/a"),
    ],
)
def test_an_address_of_a_ledger(url: str, endpoints: tuple[str, ...], secure: bool, prefix: str) -> None:
    found = ledger(url)
    assert found is not None
    assert (found.endpoints, found.secure, found.prefix) == (endpoints, secure, prefix)
    assert (found.user, found.password, found.ca, found.cert, found.key) == (None,) * 5
    assert found.url == f"{url.partition('://')[0]}://{','.join(endpoints)}/{prefix}"


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:2379",
        "http://127.0.0.1:2379",
        "etcd:",
        "etcd://",
        "etcd://127.0.0.1",
        "etcd://h:x",
        "etcd://127.0.0.1:0",
        "etcd://127.0.0.1:70000",
        "etcd://a:1,",
        "etcd://a:1,,b:2",
        "etcd://a:1, b:2",
        "etcd://a:1;b:2",
        "etcd://me:p4ssword-of-the-ledger@a:1",
        "etcd://a:1/x?password=p4ssword-of-the-ledger",
        "ETCD://a:1",
    ],
)
def test_no_address_of_a_ledger(url: str) -> None:
    with pytest.raises(InputRejected) as caught:
        ledger(url)
    assert caught.value.where == "LOOKOUT_LEDGER"
    assert "etcd://host:port" in caught.value.hint
    assert PASSWORD not in str(caught.value)


def test_a_user_needs_a_password_and_a_password_alone_is_not_read() -> None:
    with pytest.raises(InputRejected) as caught:
        ledger("etcd://a:1", LOOKOUT_LEDGER_USER="me")
    assert caught.value.where == "LOOKOUT_LEDGER_PASSWORD"
    found = ledger("etcd://a:1", LOOKOUT_LEDGER_PASSWORD=PASSWORD)
    assert found is not None
    assert (found.user, found.password) == (None, None)
    both = ledger("etcd://a:1", **USER)
    assert both is not None
    assert (both.user, both.password) == ("me", PASSWORD)


def test_etcd_is_told_all_but_the_prefix(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("ca", "cert", "key")}
    for file in files.values():
        file.write_text("-")
    told = ledger(
        "etcds://h:1,10.0.0.1:2/site", **USER, **{f"LOOKOUT_LEDGER_{n.upper()}": str(f) for n, f in files.items()}
    )
    assert told is not None
    address = Address.of(told)
    assert address == Address(endpoints=("h:1", "10.0.0.1:2"), tls=True, user="me", password=PASSWORD, **files)
    assert PASSWORD not in repr(address)
    plain = ledger("etcd://h:1")
    assert plain is not None
    assert Address.of(plain) == Address(endpoints=("h:1",))


def test_half_of_a_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cert").write_text("-")
    told = ledger("etcds://h:1", LOOKOUT_LEDGER_CERT=str(tmp_path / "cert"))
    assert told is not None
    with pytest.raises(InputRejected, match="certificate without its key"):
        Address.of(told)


# --- files and secrets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("LOOKOUT_STORE_CA", "ca"),
        ("LOOKOUT_LEDGER_CA", "ca"),
        ("LOOKOUT_LEDGER_CERT", "cert"),
        ("LOOKOUT_LEDGER_KEY", "key"),
    ],
)
def test_a_file_must_be_there(tmp_path: Path, name: str, field: str) -> None:
    there = tmp_path / "ca.pem"
    there.write_text("-")
    read, url = (store, "s3+https://a:1") if name.startswith("LOOKOUT_STORE") else (ledger, "etcds://a:1")
    assert getattr(read(url, **{name: str(there)}), field) == there
    assert getattr(read(url, **{name: ""}), field) is None
    for missing in (tmp_path / "other.pem", tmp_path):
        with pytest.raises(InputRejected) as caught:
            read(url, **{name: str(missing)})
        assert caught.value.where == name


def test_no_secret_is_shown_by_repr() -> None:
    settings = Settings.from_environment(
        {
            "LOOKOUT_STORE": "s3+http://a:1/x-",
            "LOOKOUT_LEDGER": "etcd://b:2",
            "SENDGRID_API_KEY": "SG.key",
            **KEYS,
            **USER,
        }
    )
    assert settings.store is not None
    assert settings.ledger is not None
    for shown in (repr(settings), str(settings), settings.store.url, settings.ledger.url, f"{settings.store}"):
        assert not any(secret in shown for secret in (SECRET, PASSWORD, "SG.key"))
    assert "access_key='me'" in repr(settings)
