import re
from dataclasses import fields
from pathlib import Path

from stages.validate.limits import Limits
from stages.validate.reasons import FLAG_MEANINGS, SENTENCES, Flag, Reason

PAGE = (Path(__file__).parents[2] / "docs" / "validate.md").read_text(encoding="utf-8")


def rows(title):
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return {found[1]: found[2] for found in re.finditer(r"^\| `([^`]+)` \| (.*?) \|", section, re.MULTILINE)}


def test_every_reason_is_documented_in_order_and_no_other():
    assert list(rows("Reasons")) == [reason.value for reason in Reason]
    assert list(SENTENCES) == list(Reason)


def test_every_flag_is_documented_with_its_meaning():
    assert rows("Flags") == {flag.value: FLAG_MEANINGS[flag] for flag in Flag}


def test_every_parameter_is_documented_with_its_default():
    assert rows("Parameters") == {field.name: shown(getattr(Limits(), field.name)) for field in fields(Limits)}


def shown(default):
    return f"{default:,}" if type(default) is int else str(default).lower()


def test_codes_are_plain_enough_for_labels_and_file_names():
    for reason in Reason:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", reason)
