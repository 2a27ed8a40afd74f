"""Alerts as text in a ledger: those of mail as older versions wrote them, and those of other channels."""

from __future__ import annotations

import json

import pytest

from devkit.contracts.ledger_kit import alert
from lookout.ledger import codec


def test_the_text_of_a_mails_alert_names_no_channel_as_in_older_ledgers() -> None:
    mail = alert("a")
    text = codec.write_alert(mail)
    assert json.loads(text)[1] == ["from@example.org", "to@example.org", "k.jpg", mail.draft.detail]
    assert codec.read_alert("a", text) == mail


@pytest.mark.parametrize("channel", ["webhook:home", "apprise:phone"])
def test_another_channel_is_kept(channel: str) -> None:
    kept = alert("a", channel=channel)
    assert codec.read_alert("a", codec.write_alert(kept)) == kept
    assert kept.draft.channel == channel
