#!/usr/bin/env bash
# Make ready what the deployments need on the Prefect server: profile "flowledger", work pool (process), work
# queues, and the automation that finds and announces dead runs.  Run it as often as you like.
#
# Usage: scripts/setup_prefect.sh
#   PREFECT_API_URL (in .env or the environment) names the server; default: http://127.0.0.1:4200/api
set -euo pipefail
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
scripts/setup
.venv/bin/flowledger deploy --setup-only
