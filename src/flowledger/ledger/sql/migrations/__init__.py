"""Alembic scripts, applied by ``ledger.sql.migration``."""
