"""Flowledger: the complete, provable ledger of workflow runs."""

__version__ = "0.1.0"
