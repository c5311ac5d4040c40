#!/usr/bin/env python3
"""The old script's place; the same as the console script fetch-workflow-logs."""

from flowledger.cli.fetch_workflow_logs import main

if __name__ == "__main__":
    main()
