"""A devices file in its bucket: the stages' own users read names as it says, also when it is corrected afterwards."""

from __future__ import annotations

import json

from devkit.fakes.sendgrid_api import SendGridApi
from tests.cli.shell import PHOTOS, THREAT
from tests.services.cli_kit import STAGES, Site

from .kit import cut, give, run, sent, verdict

KEY = "porch/2025/11/22/porch_20251122003000.jpg"


def work(site: Site, name: str, api: SendGridApi) -> None:
    cut(site, f"--run={name}", "--reconcile=recent")
    for stage in STAGES:
        run(site, stage, f"--run={name}", f"--pull={name}", api=api)


def test_names_are_read_and_corrected_and_nobody_is_mailed_again(site: Site, api: SendGridApi) -> None:
    give(site, "images", KEY, (PHOTOS / THREAT).read_bytes())
    names = {"names": [{"preset": "reolink"}], "zone": "UTC"}
    give(site, "devices", "devices.json", json.dumps(names).encode())
    work(site, "first", api)
    assert verdict(site, "--run=first")["found"] == {"threat: person": 1}
    in_force = site.lookout("status", "--json", env=site.be("engine")).json["in_force"]
    assert in_force["devices"] == ["devices.json"]
    mails = len(sent(api))
    assert mails > 0

    corrected = {**names, "devices": {"porch": {"zone": "Europe/Vienna"}}}
    give(site, "devices", "devices.json", json.dumps(corrected).encode())
    work(site, "second", api)
    said = json.loads(site.objects()[f"validate/names/{KEY}.json"])
    assert said["captured_at_s"] == 1763767800.0
    assert any(path.startswith("threat-detect/porch/20251121T233000") for path in site.objects())
    assert not any(path.startswith("threat-detect/porch/20251122") for path in site.objects())
    assert len(sent(api)) == mails

    give(site, "devices", "devices.json", b"{")
    assert cut(site, "--run=bad", "--reconcile=recent", code=1)["refused"][0].startswith("devices/devices.json")
