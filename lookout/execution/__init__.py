"""Execution of jobs in worker processes. Knows no ledger."""
