"""``flowledger notify``: try the channels, see what waits, send it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC

import click

from flowledger import bootstrap
from flowledger.bootstrap import notifications
from flowledger.domain.messages import OutboxMessage
from flowledger.errors import UsageError
from flowledger.services.report_requests import RunAttempt, RunOrder

EXIT_FAILURE = 1
SHOWN = 100
"""So many letters of each kind are shown."""


@click.group()
def notify() -> None:
    """Try the channels, see the messages that wait, send them."""


@notify.command()
@click.option("--channel", "names", multiple=True, metavar="NAME", help="Only this one; may be repeated.")
@click.option("--app", metavar="NAME", help="The channels and language of this app. Default: all.")
def test(names: Sequence[str], app: str | None) -> int:
    """Send a test message through each channel; exits 1 when one does not take it."""
    settings = bootstrap.load_settings(need_app=False)
    if app:
        settings.app(app)  # an unknown one is refused with the known ones
    with notifications.open_notifications(settings, RunOrder(app=app), RunAttempt()) as service:
        channels = tuple(service.addressees)
        chosen = names or (service.notified if app else channels)
        if not chosen or not channels:
            raise UsageError(
                "no channel is set up: set NOTIFICATION_TYPE (such as dingtalk,email) and the variables of "
                "that channel, or list channels in config/settings.yaml; and leave NOTIFICATION_ENABLED true"
            )
        if strange := [repr(name) for name in names if name not in channels]:
            raise UsageError(f"unknown channel {', '.join(strange)}: one of {', '.join(channels)}")
        problems = {name: service.try_channel(name) for name in chosen}
    for name, problem in problems.items():
        click.echo(f"{name}: {problem or 'ok'}")
    return EXIT_FAILURE if any(problems.values()) else 0


@notify.command()
@click.option("--all", "everything", is_flag=True, help="Also those whose next try is later.")
def flush(everything: bool) -> int:
    """Send the messages that wait; exits 1 when some wait on."""
    settings = bootstrap.load_settings(need_app=False)
    with bootstrap.opened_ledger(settings) as ledger:
        if everything:
            now = bootstrap.clock.utc_now()
            for letter in ledger.outbox_messages(waiting=True, limit=10_000):
                ledger.complete(replace(letter, not_before=now))
    # The service opens the ledger itself: it sends even where that fails.
    with notifications.open_notifications(settings, RunOrder(), RunAttempt()) as service:
        sent = service.send_waiting()
    with bootstrap.opened_ledger(settings) as ledger:
        waiting = len(ledger.outbox_messages(waiting=True, limit=10_000))
    click.echo(f"{sent} sent, {waiting} waiting" + (" (see flowledger notify list)" if waiting else ""))
    return EXIT_FAILURE if waiting else 0


@notify.command("list")
@click.option("--sent", is_flag=True, help="Those that were sent as well.")
def list_letters(sent: bool) -> int:
    """Show the messages that wait and those that were given up, newest first."""
    settings = bootstrap.load_settings(need_app=False)
    with bootstrap.opened_ledger(settings) as ledger:
        waiting = ledger.outbox_messages(waiting=True, limit=SHOWN)
        others = ledger.outbox_messages(waiting=False, limit=SHOWN)
    _show("waiting", waiting)
    _show("given up", [letter for letter in others if letter.given_up])
    if sent:
        _show("sent", [letter for letter in others if letter.sent_at is not None])
    return 0


def _show(title: str, letters: Iterable[OutboxMessage]) -> None:
    lines = [_line(letter) for letter in letters]
    click.echo(f"{title}: {len(lines) or 'none'}")
    for line in lines:
        click.echo(f"  {line}")


def _line(letter: OutboxMessage) -> str:
    heading = (
        f"{letter.posted_at.astimezone(UTC):%Y-%m-%d %H:%M}Z  {letter.channel}  {letter.message.subject}"
    )
    if letter.sent_at is not None:
        return f"{heading}  (sent {letter.sent_at.astimezone(UTC):%Y-%m-%d %H:%M}Z)"
    tries = f"{letter.tries} {'try' if letter.tries == 1 else 'tries'}"
    after = "" if letter.given_up else f", next from {letter.not_before.astimezone(UTC):%Y-%m-%d %H:%M}Z"
    problem = f": {letter.problem}" if letter.problem else ""
    return f"{heading}  ({tries}{after}{problem})"
