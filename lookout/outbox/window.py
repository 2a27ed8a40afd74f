"""Windows of letters: the number of alerts of one channel that leave singly before digests do. Does no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from lookout.domain.records import Alert
from lookout.outbox.letters import by_recipient


@dataclass(kw_only=True)
class Window:
    """Letters of one channel: those that left in the last ``window_s`` seconds, or in the life of this object.

    More than ``max_letters`` become digests, of which rounds leave ``digest_every_s`` apart.
    """

    max_letters: int
    window_s: float
    digest_every_s: float
    _sent_at_s: deque[float] = field(default_factory=deque, init=False)
    _digest_at_s: float = field(default=float("-inf"), init=False)

    def clear(self) -> None:
        """Forget all times, as the clock was set back."""
        self._sent_at_s.clear()
        self._digest_at_s = float("-inf")

    def slide(self, now_s: float) -> None:
        """Forget letters that left before the window."""
        while self._sent_at_s and self._sent_at_s[0] < now_s - self.window_s:
            self._sent_at_s.popleft()

    def note(self, at_s: float) -> None:
        """Count a letter that may have left."""
        self._sent_at_s.append(at_s)

    def choose(
        self, due: list[Sequence[Alert]], singly: Collection[str], now_s: float
    ) -> list[Sequence[Alert]] | float:
        """Return the letters that leave of those that are due: all, or digests of them; or the time before which no
        digest may leave. Alerts ``singly`` are in no digest."""
        if len(due) + len(self._sent_at_s) <= self.max_letters:
            return due
        if now_s - self._digest_at_s < self.digest_every_s:
            return self._digest_at_s + self.digest_every_s
        self._digest_at_s = now_s
        return by_recipient(due, singly)
