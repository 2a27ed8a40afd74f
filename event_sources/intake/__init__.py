"""Between the store and the workflows: takes events, enters into the ledger what they are about, and starts a workflow
a batch and not one an object. ``python -m event_sources.intake`` serves; docs/intake.md says how.

Nothing counts that is only in this process: what has landed is a mark in the ledger, what is to be worked on together
is a batch there, and what was started is seen by what has become of the batch.
"""
