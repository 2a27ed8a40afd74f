"""``status --follow``, ``wait``, ``logs`` and ``metrics`` on real servers, with a ledger that goes away for a while."""

from __future__ import annotations

import io
import signal
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from devkit.servers.for_tests import EtcdServer, Proxy
from devkit.servers.ports import free_port
from tests.cli.shell import CALM, RULES, THREAT
from tests.engine import test_looking_on as embedded
from tests.engine.test_looking_on import Desk
from tests.services.cli_kit import Site
from tests.services.etcd_kit import open_bench
from tests.uploading.site import until

globals().update({name: thing for name, thing in vars(embedded).items() if name.startswith("test_")})


@pytest.fixture
def desk(etcd: EtcdServer, prefix: str) -> Iterator[Desk]:
    with open_bench(etcd, prefix) as bench:
        bench.clock.now_s = 1000.0
        ledger = bench.open()
        with ledger.session() as owner:
            yield Desk(ledger, owner, bench.clock)


@pytest.fixture
def site(tmp_path: Path, store_settings: dict[str, str], ledger_settings: dict[str, str]) -> Site:
    site = Site(root=tmp_path, environment=store_settings | ledger_settings)
    site.lookout("init", "--logs")
    return site


def test_a_picture_that_was_just_uploaded_is_waited_for(site: Site, prefix: str) -> None:
    site.put(THREAT)
    site.lookout("upload", "photos")
    name = f"{prefix}images/{THREAT}"
    assert "does not know this version" in site.refused("wait", name, "--timeout", 0, code=75)
    with site.start("wait", name, "--timeout", 60, "--json") as waiting:
        site.work("--rules", RULES)
        assert waiting.wait() == 0
    assert '"threat-detect": "threat: person"' in "".join(waiting.seen)
    site.put(CALM)
    (site.photos / CALM).rename(site.photos / THREAT)
    site.lookout("upload", "photos")
    site.refused("wait", name, "--timeout", 0, code=75)
    site.work()
    assert site.lookout("wait", name, "--timeout", 0, "--json").json["is"] == "success"


def test_a_run_is_told_with_the_logs_of_its_containers_to_whom_may_read_them(site: Site, prefix: str) -> None:
    site.put(THREAT)
    site.lookout("upload", "photos")
    made = site.lookout("batches", "cut", "--run", "wf-1", "--reconcile", "full", "--json").json
    site.lookout("work", "--pull", "wf-1", "--workers", 1)
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    for pod, said in (("wf-1-a", b"validate: 1 success\n\x1b[2J"), ("other", b"nothing")):
        key = f"{day}/{pod.removesuffix('-a')}/{pod}/main.log"
        site.store.connection.client.put_object(f"{prefix}lookout-logs", key, io.BytesIO(said), len(said))
    text = site.lookout("logs", "wf-1").out
    assert f"batch {made['batches'][0]['id']} done" in text
    assert "run wf-1 ended: success" in text
    assert f"{day}/wf-1/wf-1-a/main.log\n  validate: 1 success" in text
    assert "\x1b" not in text
    assert "nothing" not in text
    assert "main.log" not in site.lookout("logs", "wf-1", "--no-containers").out
    site.begin()
    done = site.lookout(
        "logs", "wf-1", "--json", env=site.be("engine") | {"LOOKOUT_STORE": site.environment["LOOKOUT_STORE"]}
    )
    assert "may not read the bucket" in done.err
    assert {line["event"] for line in done.lines} >= {"run", "batch", "stage"}


def test_a_status_that_follows_and_metrics_outlive_a_ledger_that_is_away(
    site: Site, etcd: EtcdServer, new_proxy: Callable[..., Proxy]
) -> None:
    site.put(CALM)
    site.lookout("upload", "photos")
    site.work()
    proxy, port = new_proxy(etcd.endpoint), free_port()
    direct = site.environment["LOOKOUT_LEDGER"]
    site.environment["LOOKOUT_LEDGER"] = direct.replace(etcd.endpoint, proxy.endpoint)

    def up() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return "lookout_ledger_up 1.0" in answer.read().decode()

    with (
        site.start("status", "--follow", "--json") as follow,
        site.start("metrics", "--port", port) as exporter,
    ):
        assert follow.expect()["pictures"] == 1
        exporter.expect_talk("/metrics")
        until(up)
        proxy.refuse()
        proxy.cut()
        assert "error" in follow.expect()
        until(lambda: not up(), 90)
        proxy.accept()
        assert follow.expect(pictures=1)["backlog"]["pictures"] == 0
        until(up, 90)
        assert follow.stop(signal.SIGINT) == 130
        assert exporter.stop(signal.SIGTERM) == 130
