"""dlt: the log list by page number, details and node executions as parallelized children, kept in DuckDB.

Runs in an environment of its own (``requirements-bench.lock``).  ``EXTRACT__WORKERS`` is the concurrency.
"""

import os
from collections.abc import Callable

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "CRITICAL"

import dlt
from contender import Result, Task, compete
from dlt.sources.rest_api import RESTAPIConfig, rest_api_source


def fetch(task: Task) -> Callable[[], Result]:
    """Run a pipeline as its documentation describes one."""
    os.environ["EXTRACT__WORKERS"] = str(task.concurrency)
    os.environ["EXTRACT__MAX_PARALLEL_ITEMS"] = str(task.concurrency)
    pipeline = dlt.pipeline(
        "race",
        pipelines_dir=str(task.scratch / "pipelines"),
        destination=dlt.destinations.duckdb(str(task.scratch / "race.duckdb")),
        dataset_name="dify",
    )
    pipeline.run(rest_api_source(config_of(task), max_table_nesting=1))
    return lambda: counted(pipeline)


def config_of(task: Task) -> RESTAPIConfig:
    """Describe the three endpoints."""
    window = {"created_at__after": task.after, "created_at__before": task.before}
    paginator = {"type": "page_number", "base_page": 1, "page_param": "page", "total_path": None,
                 "has_more_path": "has_more"}  # fmt: skip
    run = "console/api/apps/" + task.app + "/workflow-runs/{resources.logs.workflow_run.id}"
    return {
        "client": {"base_url": task.base_url},
        "resources": [
            {
                "name": "logs",
                # A row may name a run that is gone: the children's addresses could not be written.
                "processing_steps": [{"filter": lambda row: row["workflow_run"]}],
                "endpoint": {
                    "path": "v1/workflows/logs",
                    "headers": task.key,
                    "params": {"limit": 100, **window},
                    "data_selector": "data",
                    "paginator": paginator,
                },
            },
            {
                "name": "details",
                "parallelized": True,
                "endpoint": {
                    "path": run,
                    "headers": task.console,
                    "paginator": "single_page",
                    "data_selector": "$",
                },
            },
            {
                "name": "nodes",
                "parallelized": True,
                "endpoint": {
                    "path": f"{run}/node-executions",
                    "headers": task.console,
                    "paginator": "single_page",
                    "data_selector": "data",
                },
            },
        ],
    }


def counted(pipeline: dlt.Pipeline) -> Result:
    """Count what is in the database."""
    with pipeline.sql_client() as client:
        logs = client.execute_sql("SELECT count(*) FROM logs")[0][0]
        runs = client.execute_sql("SELECT count(DISTINCT id) FROM details")[0][0]
        nodes = client.execute_sql("SELECT count(DISTINCT id) FROM nodes")[0][0]
    return Result(-(-logs // 100) + 2 * logs, runs, nodes)


if __name__ == "__main__":
    compete(fetch)
