"""Times at which the container of threat-detect sends mails: at once, a moment later, together or on a schedule."""

from __future__ import annotations

import socket

from devkit.fakes.sendgrid_api import SendGridApi
from tests.cli.shell import NEW, THREAT
from tests.cli.stages_kit import STAGES, start_stage
from tests.services.cli_kit import Site
from tests.services.stage_commands.kit import DEADLINE_S, cut, full, mail, run, sent, upload, verdict


def test_a_mail_that_cannot_be_sent_at_once_is_sent_a_moment_later_by_the_same_process(site: Site) -> None:
    cut(site, "--run=init", "--reconcile=recent")
    upload(site, THREAT)
    this = ("--run=wf", f"--object={full(site, f'images/{THREAT}')}")
    for stage in STAGES[:2]:
        run(site, stage, *this)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    api_is = {"SENDGRID_API_KEY": "SG.test", "LOOKOUT_SENDGRID_HOST": f"http://127.0.0.1:{port}"}
    env = site.be("threat-detect") | api_is | {"LOOKOUT_LOG": "info"}
    with start_stage(site, "threat-detect", *this, env=env) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "letter" in line)
        assert "state=pending" in said
        assert "Connection refused" in said
        with SendGridApi(port=port) as api:
            out, err = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0, (out, err)
            alerts = verdict(site, *this)["alerts"]
            assert alerts == {"sent": len(sent(api))}
            assert alerts["sent"] > 1


def test_each_batch_that_a_worker_pulls_has_as_many_mails_that_leave_singly(site: Site, api: SendGridApi) -> None:
    upload(site, THREAT, NEW)
    assert len(cut(site, "--run=wf", "--reconcile=recent", "--size=1", "--workers=9")["workers"]) == 2
    for stage in STAGES[:2]:
        run(site, stage, "--run=wf", "--pull=wf")
    run(site, "threat-detect", "--run=wf", "--pull=wf", "--max-mails=3", api=api)
    assert len(sent(api)) == 4
    assert all("lookout_alert" in one.message["custom_args"] for one in sent(api)), "a digest is of several alerts"


def test_alerts_that_could_not_be_sent_are_sent_by_the_clock(site: Site, api: SendGridApi) -> None:
    cut(site, "--run=init", "--reconcile=recent")
    upload(site, THREAT)
    for stage in STAGES:
        run(site, stage, "--run=wf", f"--object={full(site, f'images/{THREAT}')}")
    waiting = verdict(site, "--run=wf", f"--object={full(site, f'images/{THREAT}')}")["alerts"]
    assert set(waiting) == {"pending"}
    refused = site.lookout("alerts", "send", env=site.be("engine"), code=2)
    assert "SENDGRID_API_KEY" in refused.err
    said = site.lookout("alerts", "send", "--json", env=site.be("engine") | mail(api)).json
    assert (said["due"], said["waiting"]) == (waiting["pending"], 0)
    assert len(sent(api)) == waiting["pending"]
    assert site.lookout("alerts", "send", env=site.be("engine")).out == "0 alerts waited, 0 wait\n"
