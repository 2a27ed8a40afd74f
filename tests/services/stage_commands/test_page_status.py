"""The status beside the page on servers: written by the commands that run on a schedule, with the operator's user."""

from __future__ import annotations

from typing import Any

from devkit.fakes.sendgrid_api import Scripted, SendGridApi
from lookout.object_store.port import STATUS_KEY
from lookout.runs.status_file import parse, render
from tests.cli.shell import THREAT
from tests.cli.stages_kit import STAGES
from tests.services.cli_kit import Site
from tests.services.stage_commands.kit import cut, full, mail, run, upload

RECONCILE = ("--kind=live", "--reconcile=recent", "--page-status")
LONG_AGO_S = 1_700_000_000.0


def visible(site: Site) -> dict[str, Any]:
    return dict(parse(site.store.find_visible("plot", STATUS_KEY)))


def send(site: Site, *arguments: str, env: dict[str, str], code: int) -> None:
    site.lookout("alerts", "send", *arguments, env=site.be("engine") | env, code=code)


def test_the_page_tells_of_an_unsent_alert_until_it_is_sent(site: Site, api: SendGridApi) -> None:
    cut(site, "--run=first", *RECONCILE)
    calm = visible(site)
    assert (calm["watching"], calm["broken"], calm["unsent"], calm["failed"]) == (True, False, 0, 0)
    upload(site, THREAT)
    for stage in STAGES:
        run(site, stage, "--run=wf", f"--object={full(site, f'images/{THREAT}')}")
    api.script.extend([Scripted(status=503)] * 20)
    send(site, "--page-status", env=mail(api), code=75)
    trouble = visible(site)
    assert trouble["unsent"] > 0
    assert "503" in trouble["unsent_reason"]
    cut(site, "--run=second", *RECONCILE)
    assert visible(site)["unsent"] == trouble["unsent"], "both commands give the same report"
    api.script.clear()
    ids = [line.split()[1] for line in site.lookout("alerts", "list", env=site.be("engine")).out.splitlines()]
    site.lookout("alerts", "resend", *ids, env=site.be("engine"))
    send(site, "--page-status", env=mail(api), code=0)
    # The first report was written before any picture had come, so nothing was known of devices.
    apart = dict.fromkeys(("at_s", "rule_notes", "rule_notes_said", "rules_without_effect"))
    assert {**visible(site), **apart} == {**calm, **apart}


def test_a_command_that_is_refused_reports_too_and_one_that_is_not_asked_does_not(site: Site) -> None:
    cut(site, "--run=first", "--kind=live", "--reconcile=recent")
    upload(site, THREAT)
    for stage in STAGES:
        run(site, stage, "--run=wf", f"--object={full(site, f'images/{THREAT}')}")
    send(site, env={}, code=2)
    assert visible(site) == {}
    send(site, "--page-status", env={}, code=2)
    assert visible(site)["watching"] is True


def test_a_report_is_renewed_when_it_is_old_and_leaves_no_older_version(site: Site) -> None:
    cut(site, "--run=first", *RECONCILE)
    first = visible(site)
    cut(site, "--run=second", *RECONCILE)
    assert visible(site) == first, "nothing changed within a minute"
    site.store.overwrite("plot", STATUS_KEY, render({**first, "at_s": LONG_AGO_S}), "text/javascript")
    cut(site, "--run=third", *RECONCILE)
    assert visible(site)["at_s"] >= first["at_s"]
    assert len(list(site.store.versions_of("plot", STATUS_KEY))) == 1
