"""The policy of alerts: which matches of a rule are told, held back, collected or dropped, and why.

Pure: knows no stage, no backend of the ledger and no clock. A rule's matches at one place are folded, one after the
other, into a small state that can be kept as JSON.
"""
