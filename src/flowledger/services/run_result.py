"""What a run of all stages came to, as callers, ``--json`` and messages have it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from flowledger.domain.runs import Json


@dataclass(frozen=True, slots=True)
class ResultWindow:
    """The first and the last second of a result's window, ISO 8601 with the offset of the app's zone."""

    after: str
    before: str


@dataclass(frozen=True, slots=True)
class ResultCertificate:
    """A certificate as a result shows it; ``expected`` is None where the source gives no total."""

    certified: bool
    reason: str
    expected: int | None
    distinct: int
    retained: int
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run of all stages came to, in plain values.

    The names and the order of the fields are those of the JSON that callers, ``--json`` and messages have.
    Money is an exact decimal text for each currency, None where it is unknown, and a lower bound where
    ``cost_known_runs`` (None in older results) is less than ``logs_count``; durations are seconds, None where
    no run has ended.
    ``late`` means made up for later; ``caught_up`` how many missed reports the run has started runs for.
    """

    app: str
    app_id: str
    period: str
    window: ResultWindow
    logs_count: int
    report_paths: Sequence[str]
    certificate: ResultCertificate
    detailed: int
    missing: int
    missing_reasons: Mapping[str, int]
    by_status: Mapping[str, int]
    open: int
    stuck: int
    users: int
    total_tokens: int
    cost: Mapping[str, str] | None
    duration_p50_s: float | None
    duration_p95_s: float | None
    failures: Sequence[Mapping[str, Json]]
    filtered: bool
    kept_locally: bool
    notes: Sequence[str]
    requests: int
    duration: float
    cost_known_runs: int | None = None
    completeness: str = ""
    """What is whole and what is not, in the app's language: "rows complete, details 0 of 399"."""
    late: bool = False
    caught_up: int = 0

    @property
    def is_whole(self) -> bool:
        """Return whether all runs are proved to be there, with all the details that were wanted."""
        return self.certificate.certified and not self.missing

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values, in the order of the fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the result that ``to_json`` made these values of."""
        return cls(
            **{
                **values,
                "window": ResultWindow(**values["window"]),
                "certificate": ResultCertificate(**values["certificate"]),
            }
        )
