"""Any history of changes, runs and kills ends where one run over the final source does."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from devkit.toy_pipeline import toy_pipeline

from .test_kill import dies_at
from .world import World

KEYS = st.sampled_from(["a/1", "a/2", "b/1", "b/2", "c"])
TEXTS = st.sampled_from(["calm", "alarm", "alarm twice", "bad", "fail", "reject"])
WORDS = st.sampled_from(["!", "?"])


class History(RuleBasedStateMachine):
    """The plain model is a dict of texts, a word and a mark: what a run must make of them is known."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.world = World(root=self.root)
        (self.root / "words").mkdir()
        (self.root / "words" / "all.txt").write_text("!")
        self.texts: dict[str, str] = {}
        self.good: dict[str, str] = {}
        self.word, self.mark = "!", ""
        self.ran = False

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @rule(key=KEYS, text=TEXTS)
    def put(self, key: str, text: str) -> None:
        self.world.put(key, text)
        self.texts[key] = text
        self.ran = False

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        (self.world.source / key).unlink(missing_ok=True)
        self.texts.pop(key, None)
        self.ran = False

    @rule(word=WORDS)
    def choose_word(self, word: str) -> None:
        (self.root / "words" / "all.txt").write_text(word)
        self.word, self.ran = word, False

    @rule(mark=st.sampled_from(["", "+"]))
    def choose_mark(self, mark: str) -> None:
        self.world.pipeline = toy_pipeline(mark=mark)
        self.mark, self.ran = mark, False

    @rule(boundary=st.integers(1, 200))
    def run_and_be_killed(self, boundary: int) -> None:
        self.ran = False
        dies_at(boundary, self._run)

    @rule()
    def run(self) -> None:
        self._run()
        for key, text in self.texts.items():
            if text not in ("fail", "reject"):
                self.good[key] = text
        for key in set(self.good) - set(self.texts):
            del self.good[key]
        self.ran = True

    def _run(self) -> None:
        self.world.run(references={"words": self.root / "words"})

    @invariant()
    def results_are_those_of_the_model(self) -> None:
        if not self.ran:
            return
        fine = {key: text for key, text in self.texts.items() if text not in ("fail", "reject")}
        got = self.world.results()
        for key, text in fine.items():
            loud = text.upper() + self.word + self.mark
            if text == "bad":
                expected = {f"first/bad/{key}": text}
            else:
                expected = {f"first/good/{key}": text, f"second/{key}.loud": loud}
            if text.startswith("alarm"):
                expected[f"third/{key}.alarm"] = f"{text}\n{loud}"
            shown = {path: data.decode() for path, data in got.items() if _is_of(path, key)}
            assert shown == expected
        assert {path for path in got if path.startswith("first/")} <= {
            f"first/{kind}/{key}" for key in self.texts for kind in ("good", "bad")
        }
        states = self.world.states()
        broken = len(self.texts) - len(fine)
        assert states.get("first", {}).get("failed", 0) == broken
        assert states.get("first", {}).get("success", 0) == len(fine)
        with self.world.ledger() as ledger:
            assert all(ledger.count_dirty(stage.name) == 0 for stage in self.world.pipeline.stages)
            counted = sum(tally.counts.get("alarms", 0) for tally in ledger.tallies())
            live = [slot for slot in ledger.slots("third") if slot.record and slot.record.outputs]
            assert counted == len(live)


def _is_of(path: str, key: str) -> bool:
    return path in (f"first/good/{key}", f"first/bad/{key}", f"second/{key}.loud", f"third/{key}.alarm")


CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]


class TestHistory(History.TestCase):
    settings = settings(max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=CHECKS)


@pytest.mark.slow
class TestLongHistory(History.TestCase):
    settings = settings(max_examples=500, stateful_step_count=40, deadline=None, suppress_health_check=CHECKS)
