"""Try every template before it is needed, with made-up notices of every kind."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

from flowledger.domain.messages import Attachment, Notice, Occasion, kept_note
from flowledger.domain.report_heading import LANGUAGES
from flowledger.domain.runs import AppKey, Json
from flowledger.errors import SettingsError
from flowledger.notify.templates import BODIES, PACKAGED, SUFFIX, Templates

SAMPLE_AT = datetime(2026, 1, 6, 2, 0, tzinfo=UTC)
_WINDOW: Mapping[str, Json] = {"after": "2026-01-05T00:00:00+08:00", "before": "2026-01-05T23:59:59+08:00"}
_CERTIFICATE: Mapping[str, Json] = {
    "certified": True,
    "reason": "as many different rows as the source counts",
    "expected": 128,
    "distinct": 128,
    "retained": 2,
    "at": "2026-01-06T02:00:01+00:00",
}
_RESULT: Mapping[str, Json] = {
    "app": "sample-app",
    "app_id": "00000000-0000-4000-8000-000000000000",
    "period": "yesterday",
    "window": _WINDOW,
    "logs_count": 128,
    "certificate": _CERTIFICATE,
    "detailed": 126,
    "missing": 2,
    "missing_reasons": {"the source no longer knows the run": 2},
    "by_status": {"success": 120, "failed": 7, "running": 1},
    "open": 1,
    "stuck": 1,
    "users": 17,
    "total_tokens": 1_234_567,
    "cost": {"USD": "1.2345"},
    "duration_p50_s": 1.5,
    "duration_p95_s": 75.0,
    "failures": [
        {
            "run_id": "11111111-1111-4111-8111-111111111111",
            "at": "2026-01-05T09:00:00+00:00",
            "status": "failed",
            "node": "LLM *1* <b>",
            "error": '[models] Rate limit | <at user_id="all"> `quota`',
        }
    ],
    "notes": ["only runs with status failed"],
    "requests": 12,
    "duration": 4.2,
}
_PREVIOUS: Mapping[str, Json] = {"runs": 120, "failed": 0, "users": 17, "total_tokens": 2_000_000}
_WHOLE = Notice(
    notice_id="sample",
    occasion=Occasion.SUCCESS,
    task="fetch-workflow-logs",
    at=SAMPLE_AT,
    app=AppKey("dify", "00000000-0000-4000-8000-000000000000"),
    app_name="sample-app",
    period="yesterday",
    result=_RESULT,
    previous=_PREVIOUS,
    run_url="http://127.0.0.1:4200/runs/flow-run/22222222-2222-4222-8222-222222222222",
    links={"sample.csv": "https://files.example.com/sample.csv", "sample.md": "/var/reports/sample.md"},
    attachments=(Attachment("sample.csv", "reports/csv/sample.csv", 1024),),
)
_UNCERTIFIED: Mapping[str, Json] = {
    **_RESULT,
    "certificate": {**_CERTIFICATE, "certified": False, "reason": "rows kept changing", "expected": None},
    "by_status": {},
    "cost": {},
    "failures": [],
    "kept_locally": True,
    "notes": [kept_note("storage away: cannot keep s3://sample/reports: no answer")],
}


def sample_notices() -> Iterator[Notice]:
    """Give notices of every occasion and language, with everything known and with next to nothing known."""
    for language in LANGUAGES:
        for occasion in Occasion:
            yield sample_notice(occasion, language)
            yield Notice(
                notice_id="sample", occasion=occasion, task="sample", at=SAMPLE_AT, language=language
            )


def sample_notice(occasion: Occasion, language: str) -> Notice:
    """Give a notice of an occasion with everything that can be known."""
    whole = replace(_WHOLE, occasion=occasion, language=language)
    if occasion is Occasion.UNCERTIFIED:
        return replace(whole, result=_UNCERTIFIED)
    if occasion in (Occasion.FAILURE, Occasion.CRASH):
        error = "AuthenticationError: the key was refused\n  - check api_token of sample-app"
        return replace(whole, result={"window": _WINDOW}, previous={}, error=error, links={}, attachments=())
    return whole


PART = "_"
"""How the name of a part begins that other templates include."""


def check_templates(folder: Path | None, channels: Sequence[str]) -> Iterator[str]:
    """Render every template with notices of every kind and give a line for each problem, with its place.

    ``channels`` are the types of channels that messages go through.
    """
    templates = Templates(folder)
    yield from _unknown(folder, channels)
    seen: set[str] = set()
    for channel, notice in product(channels, sample_notices()):
        try:
            templates.strictly(notice, channel)
        except SettingsError as error:
            new = [line for line in error.problems if line not in seen]
            seen.update(new)
            yield from new


def _unknown(folder: Path | None, channels: Sequence[str]) -> Iterator[str]:
    """Find templates whose names nothing asks for: a mistyped name would silently do nothing."""
    if folder is None or not folder.is_dir():
        return
    packaged = {path.name for path in PACKAGED.glob(f"*{SUFFIX}")}
    asked = packaged | {name for channel in channels for name in _names_of(channel, packaged)}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.name not in asked and not path.name.startswith(PART):
            yield f"{path}: no message uses this name; known are {', '.join(sorted(asked))}"


def _names_of(channel: str, packaged: Collection[str]) -> Iterator[str]:
    """Give the names that a channel without packaged templates may use."""
    if not any(name.startswith(f"{channel}.") for name in packaged):
        for language, extension in product(LANGUAGES, (*BODIES, "html")):
            yield f"{channel}.{language}.{extension}{SUFFIX}"
