"""Which filters Dify decides rightly, and which are decided on our side (contract.md §1)."""

from flowledger.domain.filters import FilterSplit, RunFilter

SERVICE_STATUSES = ("succeeded", "failed", "stopped")
STATUSES = (*SERVICE_STATUSES, "partial-succeeded", "running", "paused")
KEYWORD_CHARACTERS = 30
UNSAFE_IN_KEYWORD = frozenset('%_\\"')


def split(wanted: RunFilter) -> FilterSplit:
    """Divide a filter between Dify and us, the same for every release, with a note for each of our parts."""
    remote: dict[str, str] = {}
    notes: list[str] = []
    status = keyword = None
    if wanted.status in SERVICE_STATUSES:
        remote["status"] = wanted.status
    elif wanted.status:
        status = wanted.status
        notes.append(f"status {status}: the service API refuses this word, so it is filtered on our side")
    if wanted.session_id:
        remote["created_by_end_user_session_id"] = wanted.session_id
    if wanted.keyword:
        why = _why_not_keyword(wanted)
        if why:
            keyword = wanted.keyword
            notes.append(f"keyword {keyword!r}: {why}, so it is filtered on our side")
        else:
            remote["keyword"] = wanted.keyword
    account = wanted.account
    if account:
        notes.append(f"account {account}: releases differ on unknown accounts, so it is filtered on our side")
    return FilterSplit(remote, RunFilter(status=status, keyword=keyword, account=account), tuple(notes))


def _why_not_keyword(wanted: RunFilter) -> str | None:
    keyword = wanted.keyword or ""
    if wanted.session_id:
        return "together with a session id the server fails with 500"
    if not keyword.isascii() or not keyword.isprintable():
        return "since 1.11.3 the server does not find text beyond ASCII"
    if len(keyword) > KEYWORD_CHARACTERS:
        return f"the server uses only {KEYWORD_CHARACTERS} characters"
    if UNSAFE_IN_KEYWORD & set(keyword):
        return "older servers take %, _ and \\ for wildcards"
    return None
