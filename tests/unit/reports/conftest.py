"""Entries and headings that the report tests share."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from flowledger.domain.certificates import Certificate, Scope
from flowledger.domain.report_heading import Heading
from flowledger.domain.runs import AppKey, Creator, Detailed, Entry, Missing, NodeExecution, Run, RunStatus
from flowledger.domain.windows import Window

APP = AppKey("dify", "app-1")
SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
GOLDEN = Path(__file__).parents[2] / "data" / "legacy" / "golden"

MakeEntry = Callable[..., Entry]


@pytest.fixture(scope="session")
def golden() -> Path:
    """The files the old script wrote."""
    return GOLDEN


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """The rows behind the golden files, with details and node executions."""
    data: list[dict[str, Any]] = json.loads((GOLDEN / "full.json").read_text(encoding="utf-8"))["data"]
    return data


@pytest.fixture
def heading() -> Heading:
    """A certified heading in Chinese."""
    window = Window(1795000000, 1795219200)
    certificate = Certificate(Scope(APP, window), True, "distinct == total", 40, 40, NOW)
    return Heading(
        "客服问答", "yesterday", window, SHANGHAI, "zh", NOW, certificate, notes=("keyword filtered here",)
    )


@pytest.fixture
def make_entry() -> MakeEntry:
    """Build an entry with one llm node; ``question`` and ``answer`` are its texts."""

    def make(
        number: int = 1, question: str = "hello", answer: str = "world", *, missing: str = "", **changes: Any
    ) -> Entry:
        run = Run(
            app=APP,
            run_id=f"run-{number}",
            listed_at=datetime.fromtimestamp(1795219198 - number, UTC),
            status=RunStatus.SUCCESS,
            source_status="succeeded",
            log_id=f"log-{number}",
            created_from="service-api",
            creator=Creator("end_user", session_id=question[:20] or "u"),
            elapsed_s=Decimal("1.5"),
            total_tokens=30,
            total_steps=1,
            started_at=datetime.fromtimestamp(1795219198 - number, UTC),
        )
        if missing:
            detail: Detailed | Missing = Missing(missing)
        else:
            node = NodeExecution(0, "e", "n1", "llm", question, "succeeded", outputs={"text": answer})
            detail = Detailed({"query": question}, {"text": answer}, [node], {})
        fields = {name: getattr(run, name) for name in Run.__dataclass_fields__}
        return Entry(Run(**{**fields, **changes}), detail)

    return make
