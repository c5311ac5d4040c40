#!/usr/bin/env bash
# Install, check the settings, make the Prefect server ready, and register all deployments.
#
# Usage: scripts/deploy.sh [--all] [options of "flowledger deploy"]
#   --all   installs what some settings need: S3, OSS, a ledger on PostgreSQL, Dask
set -euo pipefail
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

extras=()
if [ "${1:-}" = "--all" ]; then
    extras=(--all)
    shift
fi
scripts/setup "${extras[@]}"
.venv/bin/flowledger config check
# What scripts/setup_prefect.sh makes as well, after everything was checked; a dry run makes nothing.
making=(--setup)
for word in "$@"; do
    if [ "$word" = "--dry-run" ]; then
        making=()
    fi
done
.venv/bin/flowledger deploy "${making[@]}" "$@"
pool=$(.venv/bin/python -c 'from flowledger.bootstrap.schedules import prefect_settings; print(prefect_settings()[0])')
cat <<END
Next: a worker, which runs what is due (its Prefect is that of the profile "flowledger"):
  .venv/bin/prefect worker start --pool "$pool" --type process
To have it always running: deployments/systemd/flowledger-worker@.service, or deployments/compose.yaml.
END
