"""A test message of the pipelines' path really arrives; an approval's letter leads to its page."""

from pathlib import Path

from webhook_receiver import receiver
from wired_engine import executed, settings_of
from workflow_place import node

from flowledger.bootstrap.ledgers import decoders
from flowledger.bootstrap.workflows import workflow_services
from flowledger.domain.runs import RunStatus
from flowledger.ledger import open_ledger


def test_a_test_message_arrives(tmp_path: Path) -> None:
    """Through the channels named, or all; an unknown one is a problem of its own."""
    ledger = open_ledger("memory://", decoders())
    with receiver() as hook:
        services = workflow_services(settings_of(tmp_path, WEBHOOK_URL=hook.url), ledger)
        assert services.try_channels([]) == {"webhook": ""}
        assert "no such channel" in services.try_channels(["nope"])["nope"]
    assert [each["occasion"] for each in hook.messages] == ["test"]


def test_an_approvals_letter_has_a_link_that_decides(tmp_path: Path) -> None:
    """The link of the letter is the one that the server reads: they share the secret by the ledger."""
    ledger = open_ledger("memory://", decoders())
    telling = {"notification_config": {"on_approval_required": True}}
    with receiver() as hook:
        settings = settings_of(tmp_path, WEBHOOK_URL=hook.url, API_PUBLIC_URL="https://flows.example.com/")
        asked = node("sign", "APPROVAL", approvers=["ann"], timeout_hours=1, options=telling)
        execution, _ = executed(settings, ledger, asked)
    assert execution.status is RunStatus.PAUSED
    (message,) = hook.messages
    address = message["links"]["ann"]
    assert address.startswith("https://flows.example.com/approvals/")
    services = workflow_services(settings, ledger)
    link = services.links.vote(address.rpartition("/")[2], approved=True, by="ann")
    assert link.approver == "ann"
    (wait,) = services.store.waits(execution.id)
    assert wait.resolution is not None
    assert wait.resolution["approved"]
