"""Ledgers with something of everything in them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from flowledger.domain.access_keys import AccessKey, Role
from flowledger.domain.certificates import Certificate, RunSet, Scope
from flowledger.domain.messages import Message, OutboxMessage
from flowledger.domain.operations import Operation
from flowledger.domain.record_kinds import COZE, KINDS, LOG
from flowledger.domain.runs import AppKey, Creator, Detailed, Entry, Missing, NodeExecution, Run, RunStatus
from flowledger.domain.windows import Window
from flowledger.ledger import open_ledger
from flowledger.ports import Decoder, Ledger

APP = AppKey("dify", "11111111-1111-1111-1111-111111111111")
BASE = datetime(2026, 11, 20, 8, tzinfo=UTC)


def decode(run: Run, raws: Mapping[str, bytes], why: str) -> Detailed:
    """Read the made-up bodies of these tests."""
    body = json.loads(raws["nodes"])
    nodes = [
        NodeExecution(n, f"{run.run_id}-{n}", f"n{n}", "llm", "t", "succeeded") for n in range(body["nodes"])
    ]
    return Detailed(body["in"], body["out"], nodes, raws)


DECODERS: Mapping[str, Decoder] = {
    "dify": decode,
    "log": KINDS[LOG].to_detail,
    "coze": KINDS[COZE].to_detail,
}


def opened(url: str) -> Ledger:
    """Open a ledger that reads these bodies."""
    return open_ledger(url, DECODERS)


def run(number: int, *, app: AppKey = APP, status: RunStatus = RunStatus.SUCCESS) -> Run:
    """Make a run; two of them share each instant."""
    return Run(
        app=app,
        run_id=f"run-{number:04}",
        listed_at=BASE + timedelta(seconds=number // 2),
        status=status,
        source_status="succeeded",
        log_id=f"log-{number:04}",
        creator=Creator("end_user", f"u{number % 3}", f"用户{number % 3}", None, "s"),
        error="=1+1" if number % 5 == 0 else None,
        elapsed_s=Decimal(number) / 4,
        total_tokens=number,
        started_at=BASE,
        raw=b'{"row":%d, "\\u0000":1}' % number,
    )


def detailed(number: int) -> Detailed:
    """Make a detail with a body of its own."""
    body = json.dumps({"in": {"q": number}, "out": {"a": "答" * 50}, "nodes": 2}).encode()
    return decode(run(number), {"nodes": body}, "")


def fill(ledger: Ledger, count: int = 40) -> None:
    """Put something of everything into a ledger."""
    window = Window(int(BASE.timestamp()), int(BASE.timestamp()) + 3600)
    runs = [run(number) for number in range(count)]
    whole, part = Scope(APP, window), Scope(APP, window, "status=failed")
    read = RunSet(count, 2**128 - count)
    proof = Certificate(whole, True, "all", count, count, BASE, read_at=BASE, runs=read)
    ledger.save_runs(runs, scope=whole, at=BASE, certificate=proof)
    ledger.save_runs(runs[:3], scope=part, at=BASE, certificate=Certificate(part, False, "why", 3, 3, BASE))
    ledger.save_details([(runs[n], detailed(n)) for n in range(0, count, 2)])
    ledger.save_details([(runs[1], Missing("gone for good", permanent=True))])
    ledger.save_details(
        [
            (runs[3], Detailed({"q": 3}, {"a": "答" * 50}, Missing("no console"), detailed(3).raw)),
        ]
    )
    record = {"execution_id": "e1", "workflow_id": "w", "status": "completed", "start_time": BASE.isoformat()}
    ledger.save_details([KINDS[LOG].run_and_detail({**record, "context": {"a": 1}})])
    coze = {
        "execute_id": "c1",
        "workflow_id": "75",
        "create_time": 1_700_000_000_000,
        "execute_status": "success",
    }
    ledger.save_details([KINDS[COZE].run_and_detail(coze)])
    for number in range(3):
        ledger.record(Operation(f"op-{number}", "PUBLISH", BASE, "anna", APP, "s", {"n": number}))
    ledger.keep_key(AccessKey("k1", "reader", "ab" * 32, Role.VIEWER, BASE, (APP,)))
    message = Message(message_id="m1", subject="s", body="b", data={"x": [1]})
    ledger.enqueue(
        [OutboxMessage(letter_id="l1", channel="mail", message=message, posted_at=BASE, not_before=BASE)]
    )
    ledger.enqueue(
        [OutboxMessage(letter_id="l2", channel="mail", message=message, posted_at=BASE, not_before=BASE)]
    )
    sent = OutboxMessage(
        letter_id="l2",
        channel="mail",
        message=message,
        posted_at=BASE,
        not_before=BASE,
        tries=2,
        sent_at=BASE,
    )
    ledger.complete(sent)


def entries_of(ledger: Ledger) -> list[Entry]:
    """Give all runs with their details."""
    from flowledger.domain.history import RunQuery
    from flowledger.services.history.paging import runs_of

    return list(runs_of(ledger, RunQuery(), with_details=True))
