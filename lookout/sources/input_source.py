"""Port of the place that inputs come from, as an engine needs it."""

from __future__ import annotations

from typing import Protocol


class InputSource(Protocol):
    """Source of inputs that can be asked about one of them."""

    def observe_again(self, key: str) -> None:
        """Observe one input as it is now, there or gone, and record that in the ledger: it was not what it had been
        when it was read, or somebody told of it. Raises LookoutError."""
        ...


__all__ = ["InputSource"]
