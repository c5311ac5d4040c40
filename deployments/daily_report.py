"""Register the daily report of every app.

Usage: python deployments/daily_report.py [--dry-run] [--prune] [--app NAME]
What it is called, when it runs and what it reports is said in config/deployments.yaml, entry daily_report.
"""

import sys

from flowledger.cli.main import main

if __name__ == "__main__":
    main(["deploy", "--only", "daily_report", *sys.argv[1:]])
