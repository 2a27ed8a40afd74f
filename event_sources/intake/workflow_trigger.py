"""Posting to the EventSource, which answers when the bus has the message on its disk."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from lookout.domain.errors import Unavailable
from lookout.ledger.batches import Batch

TIMEOUT_S: Final = 3.0
BATCHES: Final = "/batches"
UPLOADS: Final = "/uploads"
RUNS: Final = "/runs"


@dataclass(frozen=True, kw_only=True)
class EventSource:
    """``url`` has no path. Used by several threads at once."""

    url: str
    token: str = field(repr=False)
    timeout_s: float = TIMEOUT_S

    def post_batch(self, batch: Batch, attempt: int) -> None:
        """Have a workflow started for the batch. Of one attempt, however often it is posted, there is one workflow at
        most, as both are its name. Raises Unavailable."""
        said = {"batch": batch.id, "attempt": str(attempt), "objects": str(len(batch.keys))}
        self._post(BATCHES, json.dumps(said).encode())

    def post_run(self, run: str, linger_s: float) -> None:
        """Have the processes of an open run started, which ends when nothing has come for so long. The run's id is
        their workflow's name, so there is one at most, however often it is posted. Raises Unavailable."""
        self._post(RUNS, json.dumps({"run": run, "linger_s": f"{linger_s:g}"}).encode())

    def post_event(self, body: bytes) -> None:
        """Pass an event on as it came. Raises Unavailable."""
        self._post(UPLOADS, body)

    def _post(self, path: str, body: bytes) -> None:
        to = urlsplit(self.url)
        kind = http.client.HTTPSConnection if to.scheme == "https" else http.client.HTTPConnection
        connection = kind(to.netloc, timeout=self.timeout_s)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            said = answer.read(200)
        except (OSError, http.client.HTTPException) as exc:
            raise Unavailable(f"{self.url}{path}", str(exc) or type(exc).__name__) from exc
        finally:
            connection.close()
        if answer.status // 100 != 2:
            hint = "; is LOOKOUT_INTAKE_POST_TOKEN its token?" if answer.status in (401, 403) else ""
            raise Unavailable(f"{self.url}{path}", f"status {answer.status}: {said.decode(errors='replace')}{hint}")
