"""Proof of an alert: made again from its record alone, and compared. See ``prover`` for the method."""

from __future__ import annotations

from lookout.proof.findings import Difference, Proof, Step, Verdict
from lookout.proof.prover import Prover

__all__ = ["Difference", "Proof", "Prover", "Step", "Verdict"]
