"""Kit for tests of the containers' commands: their arguments and output, and what the rest of the pipeline does."""

from __future__ import annotations

import json
from typing import Any

from devkit.fakes.sendgrid_api import Posted, SendGridApi
from lookout.domain.identity import sha256
from tests.cli.stages_kit import run_stage
from tests.services.cli_kit import Site

DEADLINE_S = 60.0


def give(site: Site, bucket: str, key: str, data: bytes) -> None:
    """Put an object as a person does, with any client."""
    site.store.connection.put(site.store.full(bucket), key, data, "application/octet-stream", sha256(data), {})


def upload(site: Site, *names: str) -> None:
    site.put(*names)
    site.lookout("upload", "photos", env=site.be("uploader"))


def cut(site: Site, *arguments: str, code: int = 0) -> Any:
    done = site.lookout("batches", "cut", "--json", *arguments, env=site.be("engine"), code=code)
    return json.loads(done.out)


def verdict(site: Site, *arguments: str, code: int = 0) -> Any:
    return site.lookout("verdict", "--json", *arguments, env=site.be("engine"), code=code).json


def sent(api: SendGridApi) -> list[Posted]:
    return [one for one in api.posted if one.status == 202]


def mail(api: SendGridApi) -> dict[str, str]:
    return {"SENDGRID_API_KEY": api.key, "LOOKOUT_SENDGRID_HOST": api.url}


def run(site: Site, stage: str, *arguments: str, api: SendGridApi | None = None, code: int = 0) -> Any:
    more = mail(api) if api is not None and stage == "threat-detect" else {}
    done = run_stage(site, stage, "--json", *arguments, env=site.be(stage) | more, code=code)
    return json.loads(done.out) if code == 0 else done


def full(site: Site, path: str) -> str:
    return site.environment["LOOKOUT_STORE"].rpartition("/")[2] + path
