"""What ties pipelines to jobs of other tools: deployments of Prefect, apps of Dify, workflows of Coze.

They are few and change rarely: one value of the ledger has them all, replaced as a whole.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowledger.errors import RecordConflictError, RecordNotFoundError, UsageError
from flowledger.ports import Clock, KeyValueStore

KEY = "pipeline-mappings"
MOST = 2_000
FIELDS = (
    *("pipeline", "tool", "external_job_id", "external_job_name", "auto_sync"),
    *("last_sync_at", "sync_status"),
)
_TRIES = 20
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mappings:
    """Reads and writes mappings; one of a pipeline, tool and job there is only once."""

    values: KeyValueStore
    clock: Clock

    def all(self) -> Sequence[Row]:
        """Return the mappings by number."""
        stored: Any = self.values.value(KEY)
        return [] if stored is None else [dict(each) for each in stored.value["mappings"]]

    def get(self, number: int) -> Row:
        """Return one mapping.

        :raises RecordNotFoundError: when there is none of that number.
        """
        found = next((each for each in self.all() if each["id"] == number), None)
        if found is None:
            raise RecordNotFoundError(f"there is no pipeline mapping {number}")
        return found

    def add(self, fields: Mapping[str, Any]) -> Row:
        """Add a mapping and return it with its number.

        :raises RecordConflictError: when there is one of that pipeline, tool and job.
        """
        at = self.clock().isoformat()
        made: Row = {}

        def add(rows: list[Row], number: int) -> list[Row]:
            if len(rows) >= MOST:
                raise UsageError(f"there are {MOST:,} pipeline mappings already: delete some first")
            blank = {"external_job_name": "", "auto_sync": False, "sync_status": "never"}
            made.update(
                {"id": number, **dict.fromkeys(FIELDS), **blank, **fields, "created_at": at, "updated_at": at}
            )
            return [*rows, made]

        self._replace(add)
        return made

    def change(self, number: int, fields: Mapping[str, Any]) -> Row:
        """Change what is given of a mapping."""
        made: Row = {}

        def change(rows: list[Row], _: int) -> list[Row]:
            if not any(each["id"] == number for each in rows):
                raise RecordNotFoundError(f"there is no pipeline mapping {number}")
            old = next(each for each in rows if each["id"] == number)
            made.clear()
            made.update({**old, **fields, "updated_at": self.clock().isoformat()})
            return [made if each["id"] == number else each for each in rows]

        self._replace(change)
        return made

    def delete(self, number: int) -> None:
        """Delete a mapping."""
        self.get(number)
        self._replace(lambda rows, _: [each for each in rows if each["id"] != number])

    def _replace(self, change: Callable[[list[Row], int], list[Row]]) -> None:
        """Store what ``change`` makes of the mappings; it also gets the number of a new one."""
        for _ in range(_TRIES):
            stored = self.values.value(KEY)
            old: Any = None if stored is None else stored.value
            rows = [] if old is None else [dict(each) for each in old["mappings"]]
            number = 1 if old is None else old["last"] + 1
            changed = change(rows, number)
            _check_unique(changed)
            last = number if len(changed) > len(rows) else number - 1
            if self.values.swap_value(KEY, old, {"last": last, "mappings": changed}, self.clock()):
                return
        raise RecordConflictError("others change the pipeline mappings all the time: try again")


def _check_unique(rows: Sequence[Row]) -> None:
    seen: set[tuple[Any, ...]] = set()
    for each in rows:
        key = (each["pipeline"], each["tool"], each["external_job_id"])
        if key in seen:
            raise RecordConflictError(
                f"the pipeline {key[0]} is tied to {key[1]} {str(key[2])[:80]!r} already"
            )
        seen.add(key)
