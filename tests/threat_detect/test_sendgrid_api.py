"""The stand-in for the API: it must refuse what the real one refuses, or tests against it prove nothing."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from devkit.fakes.sendgrid_api import SendGridApi, find_faults

GOOD: dict[str, Any] = {
    "personalizations": [{"to": [{"email": "a@example.com"}]}],
    "from": {"email": "b@example.com"},
    "subject": "Hello",
    "content": [{"type": "text/plain", "value": "x"}, {"type": "text/html", "value": "<p>x"}],
    "attachments": [{"content": "eHg=", "type": "image/jpeg", "disposition": "inline", "content_id": "p"}],
}


def post(api: SendGridApi, body: bytes, path: str = "/v3/mail/send", key: str | None = None) -> tuple[int, bytes]:
    return post_to(api.url, body, key or api.key, path)


def post_to(url: str, body: bytes, key: str, path: str = "/v3/mail/send") -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(url + path, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read()


def test_a_good_mail_has_no_faults() -> None:
    assert find_faults(GOOD) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"personalizations": []}, None),
        ({"personalizations": [{"to": []}]}, "personalizations.0.to"),
        ({"personalizations": [{"to": [{"email": "a b"}]}]}, "personalizations.0.to"),
        ({"from": {}}, "from.email"),
        ({"subject": ""}, "subject"),
        ({"subject": "a\r\nBcc: b"}, "subject"),
        ({"content": []}, "content"),
        ({"content": list(reversed(GOOD["content"]))}, "content"),
        ({"attachments": [{"content": "%%"}]}, "attachments.0.content"),
        ({"attachments": [{"content": "eHg=", "disposition": "inline"}]}, "attachments.0.content_id"),
    ],
)
def test_a_fault_is_found_and_named(change: dict[str, Any], field: str | None) -> None:
    assert [place for _, place in find_faults({**GOOD, **change})] == [field]


def test_requests_are_answered_as_the_api_does(api: SendGridApi) -> None:
    good = json.dumps(GOOD).encode()
    assert post(api, good) == (202, b"")
    assert post(api, json.dumps({**GOOD, "mail_settings": {"sandbox_mode": {"enable": True}}}).encode())[0] == 200
    assert post(api, good, key="SG.other")[0] == 401
    assert post(api, good, path="/v3/other")[0] == 404
    assert post(api, b"not json")[0] == 400
    status, body = post(api, json.dumps({**GOOD, "subject": ""}).encode())
    assert (status, json.loads(body)["errors"][0]["field"]) == (400, "subject")
    assert [item.status for item in api.posted] == [202, 200, 401, 404, 400, 400]


def test_what_was_posted_can_be_read_over_http_without_the_key_and_what_is_attached(api: SendGridApi) -> None:
    post(api, json.dumps(GOOD).encode())
    with urllib.request.urlopen(api.url + "/messages", timeout=5) as answer:
        body = answer.read()
    (kept,) = json.loads(body)
    assert kept["message"] == {**GOOD, "attachments": [{**GOOD["attachments"][0], "content": 4}]}
    assert api.key.encode() not in body


def test_it_misbehaves_as_it_is_told_over_http(api: SendGridApi) -> None:
    good = json.dumps(GOOD).encode()
    assert post(api, b'[{"status": 429}, {"manner": "cut_body"}, {"manner": "drop"}]', path="/script") == (204, b"")
    assert post(api, good)[0] == 429
    assert post(api, good) == (202, b"")
    with pytest.raises(http.client.RemoteDisconnected):
        post(api, good)
    assert post(api, good)[0] == 202
    assert [item.status for item in api.posted] == [429, 202, 0, 202]


@pytest.mark.parametrize("script", [b"{", b"7", b'["drop"]', b'[{"manner": "drops"}]', b'[{"status": "late"}]'])
def test_a_script_that_is_none_is_refused_and_the_one_before_stays(api: SendGridApi, script: bytes) -> None:
    post(api, b'[{"status": 503}]', path="/script")
    assert post(api, script, path="/script")[0] == 400
    assert post(api, json.dumps(GOOD).encode())[0] == 503


def test_as_a_program_it_takes_its_key_from_the_environment_and_shows_it_to_nobody() -> None:
    key = "SG.known-to-nobody"
    command = [sys.executable, "-m", "devkit.fakes.sendgrid_api", "--port", "0"]
    environment = {**os.environ, "SENDGRID_API_KEY": key}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as double:
        try:
            assert double.stdout is not None
            url = double.stdout.readline().strip()
            assert key.encode() not in Path(f"/proc/{double.pid}/cmdline").read_bytes()
            good = json.dumps(GOOD).encode()
            assert [post_to(url, good, given)[0] for given in (key, "SG.test", "SG.other")] == [202, 401, 401]
        finally:
            double.terminate()
