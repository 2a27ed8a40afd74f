"""Reason codes of rules in words, for whoever shows a decision: an explanation, a replay, the page.

Pure: knows no ledger and no rule file. Of a rule it asks for its times and its zones alone.
"""
