"""A new ledger in etcd beside a store that holds results is not taken for a new deployment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from devkit.servers.etcd import encode
from devkit.servers.for_tests import EtcdServer, MinioServer
from tests.cli.shell import CALM, NEW, PHOTOS, RULES, THREAT
from tests.cli.stages_kit import run_stage
from tests.event_sources.intake_kit import call
from tests.services.cli_kit import Site
from tests.services.test_intake import DEADLINE_S, Chain, make_chain, until

COMMANDS = [
    ("batches", "cut", "--reconcile", "full"),
    ("batches", "cut"),
    ("look", "images/" + NEW),
    ("work", "--object", THREAT),
    ("upkeep", "reconcile"),
    ("alerts", "send"),
    ("status",),
]


def begin(root: Path, environment: dict[str, str]) -> Site:
    site = Site(root=root, environment={**environment, "LOOKOUT_STATE": str(root / "state")})
    site.begin()
    for name in (CALM, THREAT):
        site.store.put("images", name, (PHOTOS / name).read_bytes(), "image/jpeg")
    site.work("--rules", RULES)
    return site


def lost(site: Site) -> dict[str, str]:
    """The settings with an empty ledger in the place of the one that was worked with."""
    return {"LOOKOUT_LEDGER": f"{site.environment['LOOKOUT_LEDGER']}-empty"}


def test_a_new_ledger_beside_results_is_refused_until_it_is_begun_anew(
    tmp_path: Path, store_settings: dict[str, str], ledger_settings: dict[str, str]
) -> None:
    site = Site(root=tmp_path, environment=store_settings | ledger_settings)
    site.begin()
    site.store.put("images", CALM, (PHOTOS / CALM).read_bytes(), "image/jpeg")
    site.work()
    was = site.objects()
    other = {"LOOKOUT_LEDGER": f"{site.environment['LOOKOUT_LEDGER']}-other"}
    for _ in range(2):
        said = site.lookout("run", "--json", code=65, env=other).err
        assert "ledger restore" in said
        assert "ledger new" in said
    site.lookout("ledger", "new", env=other)
    site.work(env=other)
    assert site.objects() == was


@pytest.fixture
def site(tmp_path: Path, store_settings: dict[str, str], ledger_settings: dict[str, str]) -> Site:
    return begin(tmp_path, store_settings | ledger_settings)


def test_every_way_in_refuses_and_nothing_is_made_or_mailed(site: Site) -> None:
    was, letters, empty = site.objects(), site.letters(), lost(site)
    for *command, last in COMMANDS:
        last = last.replace("images/", f"{site.store.full('images')}/")
        said = site.lookout(*command, last, code=65, env=empty).err
        assert "ledger new" in said
        assert "restore" in said
    for stage in ("validate", "object-detect", "threat-detect", "plot"):
        run_stage(site, stage, "--object", f"{site.store.full('images')}/{THREAT}", env=empty | site.be(stage), code=65)
    assert (site.objects(), site.letters()) == (was, letters)


def test_work_goes_on_after_a_restore_and_nobody_is_told_twice(site: Site, tmp_path: Path) -> None:
    was, letters, empty = site.objects(), site.letters(), lost(site)
    site.lookout("ledger", "backup", "backup")
    site.lookout("batches", "cut", "--reconcile", "full", code=65, env=empty)
    site.lookout("ledger", "restore", "backup", env=empty)
    site.store.put("images", NEW, (PHOTOS / NEW).read_bytes(), "image/jpeg")
    run = site.lookout("batches", "cut", "--reconcile", "full", "--json", env=empty).json
    assert run["keys"] == 1
    site.lookout("work", "--pull", run["run"], "--workers", "1", env=empty)
    assert {path for path in was if not path.startswith("plot/")} < site.objects().keys()
    assert set(letters) < set(site.letters())
    told = site.lookout("alerts", "list", "--json", env=empty).lines
    assert len({one["id"] for one in told}) == len(told) == len(site.letters())


def test_work_goes_on_after_ledger_new_and_the_journal_keeps_mails_from_leaving_twice(site: Site) -> None:
    letters, empty = site.letters(), lost(site)
    assert letters
    site.lookout("batches", "cut", "--reconcile", "full", code=65, env=empty)
    site.lookout("ledger", "new", env=empty)
    ran = site.work("--rules", RULES, env=empty)
    assert ran["stages"]["threat-detect"]["success"] == 2
    assert site.letters() == letters


def test_an_intake_whose_ledger_is_lost_stays_up_and_lets_minio_keep_what_lands(
    tmp_path: Path,
    closing: ExitStack,
    new_minio: Callable[..., MinioServer],
    ledger_settings: dict[str, str],
) -> None:
    chain = make_chain(tmp_path, closing, new_minio, ledger_settings)
    chain.put(THREAT, (PHOTOS / THREAT).read_bytes())
    chain.site.work("--rules", RULES)
    was, empty = chain.site.objects(), lost(chain.site)
    chain.site.environment |= empty
    process = chain.start()
    until(lambda: refuses(chain))
    said = call(chain.port, "GET", "/readyz")
    assert said.status == 503
    assert "ledger new" in said.said
    assert call(chain.port, "GET", "/healthz").status == 200
    chain.put(CALM, (PHOTOS / CALM).read_bytes())
    until(lambda: chain.kept() > 0)
    assert (chain.batches(), chain.bus.workflows) == ([], [])
    assert process.poll() is None
    chain.site.lookout("ledger", "new")
    chain.await_ready()
    chain.bus.wait_for(lambda: len(chain.posted()) >= 1, DEADLINE_S)
    until(lambda: not chain.kept())
    assert chain.site.objects() == was
    assert process.poll() is None


def test_an_intake_at_work_notices_that_its_ledger_is_lost_and_goes_on_after_a_restore(
    tmp_path: Path,
    closing: ExitStack,
    new_minio: Callable[..., MinioServer],
    etcd: EtcdServer,
    prefix: str,
    ledger_settings: dict[str, str],
) -> None:
    chain = make_chain(tmp_path, closing, new_minio, ledger_settings)
    chain.put(THREAT, (PHOTOS / THREAT).read_bytes())
    chain.site.work("--rules", RULES)
    chain.site.lookout("ledger", "backup", "backup")
    process = chain.start()
    chain.await_ready()
    until(lambda: not chain.kept())
    first, behind = f"/{prefix}", f"/{prefix[:-1]}{chr(ord(prefix[-1]) + 1)}"
    etcd.ask("kv/deleterange", {"key": encode(first.encode()), "range_end": encode(behind.encode())})
    until(lambda: refuses(chain))
    assert "ledger new" in call(chain.port, "GET", "/readyz").said
    chain.put(CALM, (PHOTOS / CALM).read_bytes())
    until(lambda: chain.kept() > 0)
    chain.site.lookout("ledger", "restore", "backup")
    chain.await_ready()
    until(lambda: not chain.kept())
    chain.bus.wait_for(lambda: len(chain.posted()) >= 1, DEADLINE_S)
    assert {key for batch in chain.batches() for key in batch.keys} == {CALM}
    assert process.poll() is None


def refuses(chain: Chain) -> bool:
    try:
        return call(chain.port, "GET", "/readyz").status == 503
    except OSError:
        return False
