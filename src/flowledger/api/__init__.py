"""The HTTP API over the ledger: resources, access, limits, figures for Prometheus."""
