"""Proof of an alert: made again from its record alone, and compared. See ``prover`` for the method."""

from __future__ import annotations

from lookout.reports.proof.findings import Difference, Proof, Step, Verdict
from lookout.reports.proof.prover import Prover

__all__ = ["Difference", "Proof", "Prover", "Step", "Verdict"]
