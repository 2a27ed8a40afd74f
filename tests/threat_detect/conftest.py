from __future__ import annotations

from collections.abc import Iterator

import pytest

from devkit.fakes.sendgrid_api import SendGridApi
from lookout.outbox.channel import Letter
from stages.threat_detect.core import prepare

from .made import letter, loaded, rule_file, work


@pytest.fixture
def api() -> Iterator[SendGridApi]:
    with SendGridApi("SG.the-key", drip_s=0.05) as server:
        yield server


@pytest.fixture(scope="session")
def one() -> Letter:
    """A letter with one alert and its picture."""
    return letter([prepare({}, loaded({"home.json": rule_file({"timezone": "Europe/Vienna"})}))(work())])
