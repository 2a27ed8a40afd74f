"""A batch that cannot be is refused when it is made."""

import pytest

from lookout.ledger.batches import MAX_KEYS, Batch, BatchState


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"id": ""}, "id and a kind"),
        ({"kind": ""}, "id and a kind"),
        ({"keys": ()}, "1 to 1000 keys, got 0"),
        ({"keys": tuple(f"{n:04}" for n in range(MAX_KEYS + 1))}, "got 1001"),
        ({"keys": ("b", "a")}, "sorted"),
        ({"keys": ("a", "a")}, "each once"),
        ({"owner": "x"}, "owner exactly when taken"),
        ({"state": BatchState.TAKEN}, "owner exactly when taken"),
    ],
)
def test_what_is_no_batch_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        Batch(**{"id": "1", "kind": "x", "keys": ("a",), "created_at_s": 1.0, **fields})


def test_a_batch_of_the_most_keys_is_one():
    assert len(Batch(id="1", kind="x", keys=tuple(f"{n:04}" for n in range(MAX_KEYS)), created_at_s=1.0).keys) == 1000
