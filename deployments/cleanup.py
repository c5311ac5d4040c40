"""Register the daily cleanup of every app's storage.

Usage: python deployments/cleanup.py [--dry-run] [--prune] [--app NAME]
When it runs is said in config/deployments.yaml, entry cleanup; what is kept, in the settings.
"""

import sys

from flowledger.cli.main import main

if __name__ == "__main__":
    main(["deploy", "--only", "cleanup", *sys.argv[1:]])
