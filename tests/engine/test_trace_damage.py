"""A record that provenance cannot follow any more is told as damage."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from lookout.domain.errors import Corrupt
from lookout.reports.provenance import Tracer

from .world import World


def test_a_maker_without_the_output_that_led_to_it_is_told_as_damage(world: World) -> None:
    world.put("a/1", "alarm")
    world.run()
    with world.ledger() as ledger:
        with closing(sqlite3.connect(world.root / "state" / "ledger.sqlite")) as file, file:
            assert file.execute("UPDATE makers SET key = 'good/a/9' WHERE key = 'good/a/1'").rowcount
        tracer = Tracer(world.pipeline, ledger)
        for trace in (tracer.back, tracer.forward):
            with pytest.raises(Corrupt, match="the record of first of a/1: expected an output good/a/9"):
                trace("first", "good/a/9")
