"""The page on operations names every metric with its labels, and says what to do about each alarm."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from devkit.fakes.memory_kv import memory_ledger
from lookout.reports.device_health import HealthReader
from lookout.reports.metrics import Measures
from lookout.reports.status import look
from stages.pipeline import PIPELINE

PAGE = (Path(__file__).parents[1] / "docs" / "operations.md").read_text(encoding="utf-8")
MONITORING = Path(__file__).parents[1] / "k8s" / "monitoring"
RULES = yaml.safe_load((MONITORING / "rules.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
OF_A_HISTOGRAM = ("_bucket", "_count", "_sum")


def metrics() -> dict[str, dict[str, set[str]]]:
    """By name of a family, its labels and their values."""
    ledger, measures = memory_ledger(), Measures(PIPELINE, follows=True)
    measures.take(look(PIPELINE, ledger, 1.0, health=HealthReader(PIPELINE)), ledger)
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(measures.text()):
        labels = found.setdefault(family.name.removesuffix("_created"), defaultdict(set))
        for sample in family.samples:
            for label, value in sample.labels.items():
                if family.type != "histogram":
                    labels[label].add(value)
    return found


def test_every_metric_is_documented_with_its_labels_and_no_other() -> None:
    rows = re.findall(r"^\| `(lookout_\w+)` \|([^|]*)\|", PAGE, flags=re.MULTILINE)
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    assert documented == {name: set(labels) for name, labels in metrics().items()}


def test_alarms_and_the_dashboard_ask_for_metrics_and_labels_that_are_there() -> None:
    known, seen = metrics(), 0
    panels = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    for expression in [rule["expr"] for rule in RULES] + [one["expr"] for panel in panels for one in panel["targets"]]:
        for name, selector in re.findall(r"\b(lookout_[a-z_]+)(?:\{([^}]*)\})?", expression):
            for ending in OF_A_HISTOGRAM:
                name = name.removesuffix(ending)
            for label, value in re.findall(r'(\w+)="(\w+)"', selector):
                assert value in known[name][label]
            assert name in known
            seen += 1
    assert seen >= len(RULES) + len(panels)


def test_the_page_says_what_to_do_about_each_alarm_and_each_is_tested() -> None:
    names = [rule["alert"] for rule in RULES]
    assert re.findall(r"^### (Lookout\w+)$", PAGE, flags=re.MULTILINE) == names
    tests = yaml.safe_load((MONITORING / "rules_test.yaml").read_text(encoding="utf-8"))["tests"]
    expected = [(one["alertname"], bool(one.get("exp_alerts"))) for test in tests for one in test["alert_rule_test"]]
    assert set(expected) == {(name, fires) for name in names for fires in (True, False)}
