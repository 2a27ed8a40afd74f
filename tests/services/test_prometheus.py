"""A real Prometheus: what it makes of the metrics, the rules and the way to scrape."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from devkit.servers.binaries import find_binary
from devkit.servers.ports import free_port
from tests.cli.shell import CALM, RULES, THREAT
from tests.services.cli_kit import Site
from tests.services.prometheus_kit import MONITORING, prometheus
from tests.uploading.site import until

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """Debian's, which the script unpacks where they are missing."""
    subprocess.run(["bash", ROOT / "scripts" / "prometheus.sh"], check=True)


@pytest.mark.parametrize(
    "asked",
    [
        ["check", "config", "--syntax-only", "prometheus.yaml"],
        ["check", "rules", "rules.yaml"],
        ["test", "rules", "rules_test.yaml"],
    ],
)
def test_promtool_finds_rules_and_configuration_sound(asked: list[str]) -> None:
    done = subprocess.run(
        [find_binary("promtool"), *asked], cwd=MONITORING, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def panels() -> dict[str, str]:
    """The expressions of the dashboard, by the panel and its letter."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    found = {f"{one['title']} {each['refId']}": each["expr"] for one in dashboard["panels"] for each in one["targets"]}
    assert len(found) >= len(dashboard["panels"]) > 0
    return found


@pytest.fixture
def site(tmp_path: Path, store_settings: dict[str, str], ledger_settings: dict[str, str]) -> Site:
    site = Site(root=tmp_path, environment=store_settings | ledger_settings)
    site.lookout("init")
    return site


def test_prometheus_reads_what_the_ledger_says_while_work_goes_on(site: Site, tmp_path: Path) -> None:
    site.put(CALM)
    site.lookout("upload", "photos")
    site.work("--rules", RULES)
    port = free_port()
    with site.start("metrics", "--port", port, "--every", 0.2) as exporter:
        exporter.expect_talk("/metrics")
        with prometheus(tmp_path, f"127.0.0.1:{port}") as asked:
            until(lambda: asked.value("lookout_pictures") == 1, 60)
            assert asked.value("lookout_ledger_up") == 1
            assert asked.value('lookout_datums{stage="threat-detect",state="success"}') == 1
            assert [target["health"] for target in asked.ask("targets")["activeTargets"]] == ["up"]
            site.put(THREAT)
            site.lookout("upload", "photos")
            site.lookout("batches", "cut", "--run", "wf", "--reconcile", "full")
            # The exporter may look between the marks and the batch.
            until(lambda: asked.value('lookout_batches{state="open"}') == 1, 60)
            assert asked.value("lookout_waiting_pictures") == 1
            assert (asked.value("lookout_oldest_waiting_seconds") or 0) >= 0
            site.lookout("work", "--pull", "wf", "--workers", 1)
            until(lambda: asked.value("lookout_latency_seconds_count") == 1, 60)
            said = site.lookout("status", "--json").json
            until(lambda: asked.value("lookout_waiting_pictures") == 0, 60)
            for stage, row in said["stages"].items():
                for state in ("success", "failed", "unrunnable"):
                    # A scrape of just before the end may be the last one yet.
                    name, number = f'lookout_datums{{stage="{stage}",state="{state}"}}', row[state]
                    until(lambda name=name, number=number: asked.value(name) == number, 60)
            for title, expression in panels().items():
                assert asked.ask("query", query=expression)["resultType"] == "vector", title
            (group,) = asked.ask("rules")["groups"]
            assert {rule["health"] for rule in group["rules"]} == {"ok"}
            # One of the sample rules is for devices that have no picture here.
            about_rules = ("LookoutRuleWithoutEffect", "LookoutRulesDoNotFit")
            alerts = [one["labels"]["alertname"] for one in asked.ask("alerts")["alerts"]]
            assert [name for name in alerts if name not in about_rules] == []
            assert (asked.value("lookout_rules_without_effect") or 0) >= 1, "devices are read anew once a minute"
        exporter.kill()
