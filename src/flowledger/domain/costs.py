"""What a run cost."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation

from flowledger.domain.runs import Json, NodeExecution

CONTAINERS = frozenset({"iteration", "loop"})
"""Node types that repeat the sum of their children's prices (docs/dify-api.md "Node executions")."""

_PARENT_KEYS = ("iteration_id", "loop_id")


def cost_of(nodes: Sequence[NodeExecution]) -> Mapping[str, Decimal]:
    """Sum the prices of a run's nodes by currency ("" where the source names none).

    A container counts only where none of its children is listed, so that no price counts twice.
    """
    parents = frozenset(_parents(nodes))
    totals: dict[str, Decimal] = {}
    for node in nodes:
        if node.node_type in CONTAINERS and node.node_id in parents:
            continue
        price, currency = price_of(node)
        if price is not None:
            totals[currency] = totals.get(currency, Decimal(0)) + price
    return totals


def price_of(node: NodeExecution) -> tuple[Decimal | None, str]:
    """Return a node's price and currency: its own, else that of its usage (outputs, then process data)."""
    if node.total_price is not None:
        return node.total_price, node.currency or ""
    for payload in (node.metadata, _usage(node.outputs), _usage(node.process_data)):
        if isinstance(payload, dict) and (price := decimal_of(payload.get("total_price"))) is not None:
            return price, str(payload.get("currency") or node.currency or "")
    return None, ""


def decimal_of(value: Json) -> Decimal | None:
    """Read a number, or a text that is one; None for anything else, NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _usage(payload: Json) -> Json:
    return payload.get("usage") if isinstance(payload, dict) else None


def _parents(nodes: Iterable[NodeExecution]) -> Iterable[str]:
    for node in nodes:
        if isinstance(node.metadata, dict):
            yield from (str(node.metadata[key]) for key in _PARENT_KEYS if node.metadata.get(key))
