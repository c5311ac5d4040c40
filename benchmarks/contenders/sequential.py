"""The old way: one request after another, pages of 20 by number, two requests for each run, rows in a CSV."""

import csv
from collections.abc import Callable

import requests
from contender import Result, Task, compete

PAGE = 20


def fetch(task: Task) -> Callable[[], Result]:
    """Walk the pages by number, and ask for detail and node executions of each run."""
    sent = nodes = 0
    ids: set[str] = set()
    page = 1
    with (
        requests.Session() as session,
        (task.scratch / "runs.csv").open("w", encoding="utf-8", newline="") as file,
    ):
        rows = csv.writer(file)
        while True:
            window = {"created_at__after": task.after, "created_at__before": task.before}
            params = {"limit": str(PAGE), "page": str(page), **window}
            answer = session.get(task.logs, params=params, headers=task.key, timeout=60).json()
            sent += 1
            for row in answer["data"]:
                run = row.get("workflow_run")
                if not run:
                    continue
                detail = session.get(task.detail(run["id"]), headers=task.console, timeout=60).json()
                executions = session.get(task.nodes(run["id"]), headers=task.console, timeout=60).json()[
                    "data"
                ]
                sent += 2
                nodes += len(executions)
                ids.add(run["id"])
                rows.writerow([run["id"], detail.get("status"), detail.get("outputs"), len(executions)])
            if not answer["has_more"]:
                break
            page += 1
    return lambda: Result(sent, len(ids), nodes)


if __name__ == "__main__":
    compete(fetch)
