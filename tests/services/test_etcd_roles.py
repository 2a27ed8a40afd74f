"""The ledger's users on a real etcd: what each may write, what it is refused, and how the dead are buried."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from devkit.servers.etcd import encode
from devkit.servers.for_tests import EtcdServer
from lookout.domain.errors import InputRejected, Unavailable
from lookout.domain.records import Mark, Observation, State
from lookout.ledger.batches import UNFINISHED, Batch, BatchLedger
from lookout.ledger.etcd import EtcdLedger, roles
from lookout.ledger.etcd.roles import LedgerUser
from lookout.ledger.etcd.users import demand_passwords
from lookout.ledger.kv import keys
from lookout.ledger.kv.keyspace import FORM
from lookout.ledger.kv.port import NotPermitted
from tests.services.cli_kit import STAGES
from tests.services.ruled import ROLES, ROOT_PASSWORD, RuledSite, address, credentials, name, password

LEASE_S = 60.0


@pytest.fixture(scope="module")
def closed_etcd(servers_folder: Path) -> Iterator[EtcdServer]:
    with EtcdServer(servers_folder / "roles", fsync=False, arguments=["--bcrypt-cost=4"]) as server:
        yield server


@pytest.fixture
def site(tmp_path: Path, store_settings: dict[str, str], closed_etcd: EtcdServer, prefix: str) -> RuledSite:
    """A site whose ledger has a user for each role."""
    ledger = {"LOOKOUT_LEDGER": f"{closed_etcd.url}/{prefix}"} | credentials(prefix)
    site = RuledSite(root=tmp_path, environment=store_settings | ledger)
    site.begin()
    return site


class Handles:
    """Opens the ledger as a role's user, anew each time; sessions that ``begin`` opened end with the test."""

    def __init__(self, etcd: EtcdServer, prefix: str, stack: ExitStack) -> None:
        self._etcd, self._prefix, self._stack = etcd, prefix, stack

    def __call__(self, role: str) -> BatchLedger:
        ledger = EtcdLedger(address(self._etcd, self._prefix, role), f"/{self._prefix}")
        self._stack.callback(ledger.close)
        return ledger

    def begin(self, ledger: BatchLedger) -> str:
        return self._stack.enter_context(ledger.session())


@pytest.fixture
def opened(site: RuledSite, closed_etcd: EtcdServer, prefix: str) -> Iterator[Handles]:
    with ExitStack() as stack:
        yield Handles(closed_etcd, prefix, stack)


def token(etcd: EtcdServer, user: str, secret: str) -> str:
    return str(etcd.ask("auth/authenticate", {"name": user, "password": secret})["token"])


# --- single keys -----------------------------------------------------------------------------------------------------

EVERY = ("operator", *ROLES)
WRITERS = {
    "a slot of validate": ((keys.SLOT, "validate", "a"), {"validate", "object-detect", "threat-detect"}),
    "a slot of threat-detect": ((keys.SLOT, "threat-detect", "a"), {"threat-detect", "plot"}),
    "a claim of object-detect": ((keys.CLAIM, "object-detect"), {"object-detect"}),
    "a mark for threat-detect": ((keys.DIRTY, "threat-detect", "a"), set(STAGES)),
    "a path of validate": ((keys.PATH, "validate", "valid/a"), {"validate"}),
    "an input": ((keys.INPUT, "images", "a"), {"validate", "intake"}),
    "an alert": ((keys.ALERT, "a"), {"threat-detect"}),
    "the rules in force": ((keys.REFERENCES, "rules"), set()),
    "the form of the ledger": ((keys.META,), set()),
    "a note": ((keys.NOTE, "collected"), set()),
    "history": ((keys.RECORD, "a"), set(STAGES)),
    "keys of a batch": ((keys.BATCH_KEYS, "a"), {"intake"}),
    "a run": ((keys.RUN, "a"), {*STAGES, "intake"}),
    "a run lease": ((keys.RUN_LEASE, "a"), set()),
    "a presence of validate": ((keys.PRESENCE, "validate", "a"), {"validate"}),
}


@pytest.mark.parametrize("role", EVERY)
def test_a_user_writes_what_its_role_says_and_nothing_beside_it(
    site: RuledSite, closed_etcd: EtcdServer, prefix: str, role: str
) -> None:
    """Each key is written and taken away again with etcd's own calls: what holds for a person who has the password."""
    user = token(closed_etcd, name(prefix, role), password(name(prefix, role)))
    ledger = keys.text(f"/{prefix}")
    for (kind, *parts), allowed in WRITERS.values():
        key = encode(ledger + kind + b"".join(keys.text(part) for part in parts))
        for call, message in (("kv/put", {"key": key, "value": ""}), ("kv/deleterange", {"key": key})):
            if kind == keys.META and role == "operator":
                continue  # it would end the ledger
            if role in {"operator", *allowed}:
                closed_etcd.ask(call, message, token=user)
            else:
                with pytest.raises(Unavailable, match="permission denied"):
                    closed_etcd.ask(call, message, token=user)


@pytest.mark.parametrize("role", ROLES)
def test_a_ledger_of_an_older_form_waits_for_the_operator(
    opened: Handles, closed_etcd: EtcdServer, prefix: str, role: str
) -> None:
    operator = token(closed_etcd, name(prefix, "operator"), password(name(prefix, "operator")))
    form = encode(keys.text(f"/{prefix}") + keys.META)
    closed_etcd.ask("kv/put", {"key": form, "value": encode(b"2")}, token=operator)
    with pytest.raises(Unavailable, match=rf"form is 2.*lookout init.*to {FORM}"):
        opened(role)
    opened("operator")
    assert opened(role).count_dirty("validate") == 0


@pytest.mark.parametrize("role", EVERY)
def test_nobody_reaches_another_ledger_or_the_users(
    site: RuledSite, closed_etcd: EtcdServer, prefix: str, role: str
) -> None:
    user = token(closed_etcd, name(prefix, role), password(name(prefix, role)))
    everything = {"key": encode(keys.text(f"/{prefix}")), "range_end": encode(keys.text(f"/{prefix}")[:-1] + b"\x01")}
    assert int(closed_etcd.ask("kv/range", everything, token=user).get("count", 0)) > 0
    for call, message in [
        ("kv/range", {"key": encode(b"/other\0s")}),
        ("kv/put", {"key": encode(b"/other\0s"), "value": ""}),
        ("kv/deleterange", {"key": encode(b"\0"), "range_end": encode(b"\0")}),
        ("auth/user/add", {"name": "mallory", "password": "m"}),
        ("auth/user/grant", {"user": name(prefix, role), "role": "root"}),
        ("auth/role/grant", {"name": name(prefix, role), "perm": {"permType": 2, "key": encode(b"/")}}),
        ("auth/disable", {}),
    ]:
        with pytest.raises(Unavailable, match="permission denied"):
            closed_etcd.ask(call, message, token=user)
    if role != "operator":
        with pytest.raises(Unavailable, match="permission denied"):
            closed_etcd.ask("kv/deleterange", everything, token=user)


# --- users -----------------------------------------------------------------------------------------------------------


def test_init_makes_each_once_and_takes_away_a_right_that_is_too_much(
    site: RuledSite, closed_etcd: EtcdServer, prefix: str
) -> None:
    assert site.lookout("init", "--secrets", "ledger-secrets", "--json").json["ledger_done"] == []
    root = token(closed_etcd, "root", ROOT_PASSWORD)
    begin = keys.text(f"/{prefix}")
    too_much = {"permType": 2, "key": encode(begin), "range_end": encode(keys.after(begin))}
    alerts = {"permType": 1, "key": encode(begin + keys.ALERT)}
    for perm in (too_much, alerts):
        closed_etcd.ask("auth/role/grant", {"name": name(prefix, "validate"), "perm": perm}, token=root)
    done = site.lookout("init", "--secrets", "ledger-secrets", "--json").json["ledger_done"]
    assert done == [f"rights of {name(prefix, 'validate')} set"]
    test_a_user_writes_what_its_role_says_and_nothing_beside_it(site, closed_etcd, prefix, "validate")
    assert site.lookout("init", "--secrets", "ledger-secrets", "--json").json["ledger_done"] == []


def test_users_of_one_name_are_refused(closed_etcd: EtcdServer, site: RuledSite, prefix: str) -> None:
    own = address(closed_etcd, prefix)
    for taken in (name(prefix), "root"):
        with pytest.raises(InputRejected, match="different names"):
            demand_passwords(
                own, f"/{prefix}", ROOT_PASSWORD, [LedgerUser(name=taken, password="p", role=roles.reader())]
            )


def test_a_secret_without_a_password_is_named(site: RuledSite) -> None:
    file = site.root / "ledger-secrets" / "ledger-plot" / "LOOKOUT_LEDGER_PASSWORD"
    file.write_text("")
    assert f"{file.relative_to(site.root)}: is empty" in site.refused("init", "--secrets", "ledger-secrets")


# --- looking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("metrics", "--once"),
        ("datums", "list"),
        ("alerts", "list"),
        ("batches", "list"),
        ("doctor",),
        ("ledger", "backup", "saved"),
    ],
    ids=" ".join,
)
def test_the_reader_looks_at_everything(site: RuledSite, prefix: str, command: tuple[str, ...]) -> None:
    site.lookout(*command, env=credentials(prefix, "reader"))


def test_the_reader_changes_nothing(site: RuledSite, opened: Handles, prefix: str) -> None:
    opened("operator").mark([Mark(stage="validate", key="a_1763798400.jpg")])
    before = site.lookout("datums", "list", "--json").lines
    for command in (("alerts", "send"), ("batches", "cut"), ("run", "--workers", "1")):
        done = site.lookout(*command, env=credentials(prefix, "reader"), code=2)
        assert "may not do this" in done.err, command
    assert site.lookout("datums", "list", "--json").lines == before


# --- work ------------------------------------------------------------------------------------------------------------


def test_the_intake_enters_what_lands_and_cuts_it(opened: Handles) -> None:
    intake = opened("intake")
    seen = Observation(bucket="images", key="a_1763798400.jpg", ref=None, origin="x", observed_at_s=1.0, error="none")
    assert intake.observe([seen], ["validate"]) == 1
    (batch,) = intake.add_batches([Batch(id="b1", kind="live", keys=("a_1763798400.jpg",), basis={}, created_at_s=1.0)])
    assert [one.id for one in opened("validate").batches(states=UNFINISHED)] == [batch.id]
    intake.expire_batches(2.0)
    with pytest.raises(NotPermitted):
        intake.rebase("validate", "another")
    with pytest.raises(NotPermitted):
        intake.observe(
            [seen.__class__(bucket="model", key="m", ref=None, origin="x", observed_at_s=1.0, error="n")], []
        )


def dead(opened: Handles, etcd: EtcdServer, stage: str, key: str) -> str:
    """An owner that died with a claim of this stage."""
    ledger = opened("operator")
    ledger.mark([Mark(stage=stage, key=key)])
    owner = opened.begin(ledger)
    (claim,) = ledger.claim(stage, owner, 1, LEASE_S, keys=[key])
    assert claim.key == key
    root = token(etcd, "root", ROOT_PASSWORD)
    for lease in etcd.ask("lease/leases", token=root).get("leases", []):
        etcd.ask("lease/revoke", {"ID": lease["ID"]}, token=root)
    return owner


def test_a_stage_takes_back_what_is_its_own_and_leaves_the_rest_to_others(
    opened: Handles, closed_etcd: EtcdServer
) -> None:
    dead(opened, closed_etcd, "object-detect", "a")
    validate = opened("validate")
    validate.mark([Mark(stage="validate", key="b")])
    with validate.session() as owner:
        assert [claim.key for claim in validate.claim("validate", owner, 5, LEASE_S)] == ["b"]
        assert validate.find_slots("object-detect", ["a"])["a"].state is State.RUNNING
        detect = opened("object-detect")
        with detect.session() as other:
            assert [claim.key for claim in detect.claim("object-detect", other, 5, LEASE_S)] == ["a"]


def test_the_operator_buries_whoever_a_stage_may_not(opened: Handles, closed_etcd: EtcdServer) -> None:
    dead(opened, closed_etcd, "plot", "a")
    with opened("validate").session():
        pass
    with opened("operator").session():
        slot = opened("reader").find_slots("plot", ["a"])["a"]
    assert (slot.owner, slot.dirty) == (None, 1)


def test_a_late_claim_of_another_stage_stops_nobody(opened: Handles, closed_etcd: EtcdServer, prefix: str) -> None:
    hanging = opened("operator")
    hanging.mark([Mark(stage="plot", key="a"), Mark(stage="validate", key="b")])
    validate = opened("validate")
    with hanging.session() as owner:
        assert len(hanging.claim("plot", owner, 1, -1.0)) == 1
        with validate.session() as other:
            assert [claim.key for claim in validate.claim("validate", other, 5, LEASE_S)] == ["b"]


def test_a_stage_is_refused_the_results_of_one_behind_it(opened: Handles) -> None:
    validate = opened("validate")
    with pytest.raises(NotPermitted, match="take the user that `lookout init` made for it"):
        validate.mark([Mark(stage="threat-detect", key="a")], revive=True, salt="forged")
    with pytest.raises(NotPermitted):
        validate.rebase("threat-detect", "forged")
    with pytest.raises(NotPermitted):
        validate.enforce("rules", ())
    with validate.session() as owner, pytest.raises(NotPermitted):
        validate.claim("threat-detect", owner, 1, LEASE_S, keys=["a"]) or validate.put_note("a", "b")


def test_a_stage_has_a_result_made_again_that_it_cannot_read(opened: Handles) -> None:
    opened("object-detect").mark([Mark(stage="validate", key="a")], revive=True, salt="again")
    slot = opened("reader").find_slots("validate", ["a"])["a"]
    assert (slot.salt, slot.dirty) == ("again", 1)
    with pytest.raises(NotPermitted):
        opened("plot").mark([Mark(stage="validate", key="a")], revive=True, salt="forged")
