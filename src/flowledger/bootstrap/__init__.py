"""The composition root: the only place that reads settings and builds backends.

This module offers what nearly every command needs.  ``api``, ``archives``, ``auditing``, ``config_checks``,
``notifications`` and ``schedules`` are imported where they are used: a plain run should not pay for them.
"""

from flowledger.bootstrap.configuration import (
    DEFAULT_ZONE,
    app_key,
    clock,
    configured,
    inspect_settings,
    kept_logs,
    load_settings,
    rescued_settings,
    secret_keys,
    settings_root,
    user_name,
)
from flowledger.bootstrap.ledgers import open_ledger_at, opened_ledger
from flowledger.bootstrap.pipelines import (
    check,
    check_run,
    open_dify,
    open_pipeline,
    open_source,
    run_directly,
    shared_servers,
)
from flowledger.bootstrap.stores import (
    check_machine,
    check_storage,
    clean_storage,
    open_store,
    prefect_home,
    report_formats,
    storage_prefixes,
    strange_spools,
)

__all__ = [
    "DEFAULT_ZONE",
    "app_key",
    "check",
    "check_machine",
    "check_run",
    "check_storage",
    "clean_storage",
    "clock",
    "configured",
    "inspect_settings",
    "kept_logs",
    "load_settings",
    "open_dify",
    "open_ledger_at",
    "open_pipeline",
    "open_source",
    "open_store",
    "opened_ledger",
    "prefect_home",
    "report_formats",
    "rescued_settings",
    "run_directly",
    "secret_keys",
    "settings_root",
    "shared_servers",
    "storage_prefixes",
    "strange_spools",
    "user_name",
]
