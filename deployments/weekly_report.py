"""Register the weekly report of every app.

Usage: python deployments/weekly_report.py [--dry-run] [--prune] [--app NAME]
What it is called, when it runs and what it reports is said in config/deployments.yaml, entry weekly_report.
"""

import sys

from flowledger.cli.main import main

if __name__ == "__main__":
    main(["deploy", "--only", "weekly_report", *sys.argv[1:]])
