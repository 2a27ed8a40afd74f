"""The one handler of signals: the first ends the work in good order, the second ends the process."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from lookout.app.process import stop_on_signals

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def stops() -> Iterator[list[str]]:
    """The handler at work; says how often it has asked to stop."""
    before = {number: signal.getsignal(number) for number in BOTH}
    asked: list[str] = []
    stop_on_signals(lambda: asked.append("stop"))
    yield asked
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_asks_to_stop_and_the_second_interrupts(stops: list[str], number: signal.Signals) -> None:
    signal.raise_signal(number)
    assert stops == ["stop"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert stops == ["stop"]


def test_signals_of_both_kinds_each_ask_once(stops: list[str]) -> None:
    for number in BOTH:
        signal.raise_signal(number)
    assert stops == ["stop", "stop"]
