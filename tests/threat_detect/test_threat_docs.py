"""Examples in the documentation, which must work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lookout.domain.pipeline import Accepted
from stages.threat_detect.rules.rules import accept
from stages.threat_detect.rules.schema import ClassForm, OriginalForm, RuleForm, RulesForm
from stages.threat_detect.rules.version2.form import FORMS
from stages.threat_detect.rules.version2.reading import parse

ROOT = Path(__file__).parents[2]
TEXT, _, SECOND = (ROOT / "docs" / "rules.md").read_text().partition("## Version 2")
BLOCKS = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_each_rule_file_in_the_documentation_is_accepted(block: str) -> None:
    (verdict,) = accept({"home.json": block.encode()})
    assert isinstance(verdict, Accepted)


@pytest.mark.parametrize("block", re.findall(r"```json\n(.*?)```", SECOND, re.DOTALL))
def test_each_rule_file_of_version_2_in_the_documentation_is_accepted_without_notes(block: str) -> None:
    assert parse("home.json", block.encode()).notes == ()


def test_the_documentation_names_every_field_of_version_2() -> None:
    named = set(re.findall(r"`(\w+)`", SECOND))
    fields = {field.alias or name for form in FORMS.values() for name, field in form.model_fields.items()}
    assert fields - named == set()


def test_the_documentation_names_every_field() -> None:
    assert len(BLOCKS) == 3
    for form in (RulesForm, RuleForm, ClassForm, OriginalForm):
        for name, field in form.model_fields.items():
            assert f"`{field.alias or name}`" in TEXT or f'"{field.alias or name}"' in TEXT


def test_the_example_rules_are_accepted() -> None:
    files = {path.name: path.read_bytes() for path in (ROOT / "examples" / "rules").iterdir()}
    verdicts = accept(files)
    assert verdicts
    assert all(isinstance(verdict, Accepted) for verdict in verdicts)
