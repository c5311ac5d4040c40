"""How a filter is divided between Dify's log list and Flowledger, the same for every release."""

from flowledger.domain.run_filters import FilterSplit, RunFilter

SERVICE_STATUSES = ("succeeded", "failed", "stopped")
KEYWORD_CHARACTERS = 30
UNSAFE_IN_KEYWORD = frozenset('%_\\"')


def split(query: RunFilter) -> FilterSplit:
    """Divide a filter between Dify and Flowledger, with notes on our part."""
    remote: dict[str, str] = {}
    notes: list[str] = []
    status = keyword = None
    if query.status in SERVICE_STATUSES:
        remote["status"] = query.status
    elif query.status:
        status = query.status
        notes.append(f"status {status}: the service API refuses this word, so it is filtered by Flowledger")
    if query.session_id:
        remote["created_by_end_user_session_id"] = query.session_id
    if query.keyword:
        why = _why_keyword_is_local(query)
        if why:
            keyword = query.keyword
            notes.append(f"keyword {keyword!r}: {why}, so it is filtered by Flowledger")
        else:
            remote["keyword"] = query.keyword
    account = query.account
    if account:
        notes.append(
            f"account {account}: releases differ on unknown accounts, so it is filtered by Flowledger"
        )
    return FilterSplit(remote, RunFilter(status=status, keyword=keyword, account=account), tuple(notes))


def _why_keyword_is_local(query: RunFilter) -> str | None:
    keyword = query.keyword or ""
    if query.session_id:
        return "together with a session id the server fails with 500"
    if not keyword.isascii() or not keyword.isprintable():
        return "since 1.11.3 the server does not find text beyond ASCII"
    if len(keyword) > KEYWORD_CHARACTERS:
        return f"the server uses only {KEYWORD_CHARACTERS} characters"
    if UNSAFE_IN_KEYWORD & set(keyword):
        return "older servers take %, _ and \\ for wildcards"
    return None
