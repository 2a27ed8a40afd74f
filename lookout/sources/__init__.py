"""Sources of inputs: listed, observed and read; compared with the ledger. Never written."""
