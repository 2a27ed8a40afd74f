"""The difference between known inputs and observations is what readers and counts need to know."""

import pytest

from devkit.contracts.ledger_kit import ref, seen
from lookout.domain.records import Observation
from lookout.ledger.rules.inputs import compare, content

K = ("images", "k")


def test_nothing_observed_changes_nothing():
    changes = compare({K: seen("k")}, [])
    assert (changes.writes, changes.changed, changes.counts) == ({}, (), {})


OLD = seen("k", "1", at_s=1.0)
TABLE = {
    "new": (None, [seen("k")], {K: seen("k")}, ("k",), {("images", "folder"): 1}),
    "the same again": (OLD, [OLD], {}, (), {}),
    "the same content later": (OLD, [seen("k", "1", at_s=9.0, fingerprint="f")], {
        K: seen("k", "1", at_s=1.0, fingerprint="f")
    }, (), {}),
    "other content": (OLD, [seen("k", "2", at_s=9.0)], {K: seen("k", "2", at_s=9.0)}, ("k",), {}),
    "unreadable": (OLD, [seen("k", None, error="e")], {K: seen("k", None, error="e")}, ("k",), {}),
    "gone": (OLD, [seen("k", None)], {K: None}, ("k",), {("images", "folder"): -1}),
    "gone and never there": (None, [seen("k", None)], {}, (), {}),
    "from elsewhere": (OLD, [seen("k", "1", at_s=9.0, origin="bucket")], {
        K: seen("k", "1", at_s=1.0, origin="bucket")
    }, (), {("images", "bucket"): 1, ("images", "folder"): -1}),
    "changed twice": (OLD, [seen("k", "2"), seen("k", "3")], {K: seen("k", "3")}, ("k", "k"), {}),
    "gone and back": (OLD, [seen("k", None), seen("k", "1", at_s=9.0)], {
        K: seen("k", "1", at_s=9.0)
    }, ("k", "k"), {}),
    "come and gone": (None, [seen("k"), seen("k", None)], {K: None}, ("k", "k"), {}),
}  # fmt: skip


@pytest.mark.parametrize(("known", "observed", "writes", "changed", "counts"), TABLE.values(), ids=TABLE)
def test_changes_are_what_differs(known, observed, writes, changed, counts):
    changes = compare({K: known} if known is not None else {}, observed)
    assert (changes.writes, changes.changed, changes.counts) == (writes, changed, counts)


def test_a_ref_of_another_object_is_refused():
    wrong = Observation(
        bucket="images", key="k", origin="o", ref=ref("images", "other"), fingerprint="", observed_at_s=1.0
    )
    with pytest.raises(ValueError, match="images/other"):
        content(wrong)
