"""The page of an approval's link: one form, a key with each decision, and a link that counts once."""

from datetime import timedelta
from typing import Any

import pytest
from api_world import World, own_world
from workflow_world import accepted, form, imported, work

from flowledger.bootstrap.configuration import clock
from flowledger.domain.access_keys import Role
from flowledger.domain.history import OperationQuery
from flowledger.domain.workflows.steps import WaitKind
from flowledger.services.api_keys import REFUSAL, create_key

world = pytest.fixture(own_world)
ASKED = "<script>alert(1)</script> & 发布？"


class Link:
    """An execution that waits for ann and bob, and what ann and others do with her link."""

    def __init__(self, world: World, **config: Any) -> None:
        self.world = world
        self.keys = {}
        for name, role in (("ann", Role.OPERATOR), ("bob", Role.OPERATOR), ("vera", Role.VIEWER)):
            _, self.keys[name] = create_key(world.ledger, name, role, user="admin", at=world.clock())
        world.clock.now += timedelta(minutes=1)
        approval = {"approvers": ["ann", "bob", "vera"], "message": ASKED, **config}
        made = form(
            [("start", "START", {}), ("ok", "APPROVAL", approval), ("end", "END", {})],
            ("start", "ok"),
            ("ok", "end"),
        )
        self.execution = accepted(world, imported(world, made))["id"]
        work(world, self.execution)
        self.path = self.of("ann")

    def of(self, name: str) -> str:
        """The path of somebody's link."""
        services = self.world.client.app.state.backend.workflows.services  # type: ignore[attr-defined]
        (wait,) = services.store.waits(self.execution, kind=WaitKind.APPROVAL)
        return f"/approvals/{services.links.token(wait, name)}"

    def opened(self) -> Any:
        """What opening ann's link without any key gives."""
        return self.world.client.get(self.path)

    def decided(self, who: str = "ann", decision: str = "approve", **more: Any) -> Any:
        """What sending the form gives."""
        sent = {"key": self.keys.get(who, who), "decision": decision, "comment": "", **more}
        return self.world.client.post(self.path, data=sent)

    def status(self) -> str:
        """How the approval stands."""
        rows = self.world.get("/approval-requests").json()
        status: str = rows[0]["status"]
        return status


@pytest.fixture
def link(world: World) -> Link:
    """Ann's link."""
    return Link(world)


def test_opening_a_link_decides_nothing_and_shows_what_is_asked(link: Link) -> None:
    """Escaped, without scripts, framed by nobody, kept by no cache."""
    page = link.opened()
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; 发布？" in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert link.opened().status_code == 200
    assert link.status() == "pending"


@pytest.mark.parametrize(("decision", "status"), [("approve", "approved"), ("reject", "rejected")])
def test_the_approver_decides_with_a_key(link: Link, decision: str, status: str) -> None:
    """The vote is the key's, with its comment, and in the audit trail."""
    assert link.decided(decision=decision, comment="因为").status_code == 200
    assert link.status() == status
    (row,) = link.world.get("/approval-requests").json()
    assert [(each["voter"], each["comment"]) for each in row["votes"]] == [("ann", "因为")]
    recorded = link.world.ledger.operations(OperationQuery(types=("VOTE",)))
    assert [each.user for each in recorded] == ["ann"]


def test_a_link_counts_once(world: World) -> None:
    """Opened or sent again, it says that it was used; the vote stays."""
    link = Link(world, required_approvals=2)
    assert link.decided().status_code == 200
    assert (link.opened().status_code, "一次" in link.opened().text) == (409, True)
    assert link.decided(decision="reject").status_code == 409
    assert link.status() == "pending"
    link.path = link.of("bob")
    assert link.decided("bob").status_code == 200
    assert link.status() == "approved"


def test_a_changed_link_opens_nothing(link: Link) -> None:
    """Another wait, another name, another end, a cut signature: 404."""
    whole = link.path
    token = whole.removeprefix("/approvals/")
    number, expires, name, signature = token.split(".")
    for changed in (
        f"{int(number) + 1}.{expires}.{name}.{signature}",
        f"{number}.{int(expires) + 99}.{name}.{signature}",
        f"{number}.{expires}.Ym9i.{signature}",
        token[:-1],
        "x",
        "é",
        "." * 50,
        "a" * 2_000,
    ):
        link.path = f"/approvals/{changed}"
        assert link.opened().status_code == 404, changed
        assert link.decided().status_code == 404, changed
    link.path = whole
    assert link.opened().status_code == 200


def test_an_expired_link_says_so(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a week, or with the approval itself."""
    later = clock.utc_now() + timedelta(days=7)
    monkeypatch.setattr(clock, "utc_now", lambda: later)
    assert link.opened().status_code == 410
    assert link.decided().status_code == 410
    assert link.status() == "pending"


def test_somebody_elses_link_is_refused(link: Link) -> None:
    """Another approver's key is 403, and the link stays good for its own."""
    assert link.decided("bob").status_code == 403
    assert link.decided("ann").status_code == 200


def test_a_wrong_key_is_told_and_locked_out(link: Link) -> None:
    """401 with the form again; after many 429; refusals are recorded without the link."""
    answers = [link.decided("flk_000000000000_wrong").status_code for _ in range(11)]
    assert (answers[0], answers[-1]) == (401, 429)
    assert "<form" in link.decided("flk_000000000000_wrong").text
    refused = link.world.ledger.operations(OperationQuery(types=(REFUSAL,)))
    assert not any(link.path in str(each.data) for each in refused)
    link.world.clock.now += timedelta(minutes=2)
    assert link.status() == "pending"


def test_a_viewer_who_is_an_approver_may_not_decide(link: Link) -> None:
    """The role counts as everywhere."""
    link.path = link.of("vera")
    assert link.decided("vera").status_code == 403


def test_a_resolved_approval_takes_no_more_votes(link: Link) -> None:
    """The other approver's link says so."""
    assert link.decided().status_code == 200
    link.path = link.of("bob")
    assert link.opened().status_code == 409
    assert link.decided("bob").status_code == 409


@pytest.mark.parametrize(
    "sent",
    [{"decision": "maybe"}, {"comment": "x" * 4_001}, {"decision": ""}, {f"f{at}": "x" for at in range(20)}],
)
def test_a_form_that_is_not_ours_is_refused(link: Link, sent: dict[str, str]) -> None:
    """422, with the form again."""
    answer = link.decided(**sent)
    assert (answer.status_code, "<form" in answer.text) == (422, True)
    assert link.status() == "pending"


def test_a_large_body_is_refused(link: Link) -> None:
    """Before anything is read of it."""
    assert link.decided(comment="x" * 100_000).status_code == 413
