"""Register the custom report of every app.

Usage: python deployments/custom_report.py [--dry-run] [--prune] [--app NAME]
What it is called, when it runs and what it reports is said in config/deployments.yaml, entry custom_report.
"""

import sys

from flowledger.cli.main import main

if __name__ == "__main__":
    main(["deploy", "--only", "custom_report", *sys.argv[1:]])
