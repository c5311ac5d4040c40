"""What a run cost: the prices that the source's engine puts down for nodes that call models or tools."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from flowledger.domain.numbers import decimal_of, integer_of
from flowledger.domain.runs import Detail, Json, Missing, NodeExecution, Run

CONTAINERS = frozenset({"iteration", "loop"})
"""Node types that repeat the sum of their children's prices (docs/dify-api.md "Node executions")."""

MODEL_NODES = frozenset({"llm", "agent", "question-classifier", "parameter-extractor"})
"""Node types that always call a model: where one has no price, what the run cost is not known."""

FREE_NODES = frozenset(
    {
        *("start", "end", "answer", "if-else", "code", "template-transform", "http-request", "assigner"),
        *("variable-aggregator", "variable-assigner", "document-extractor", "list-operator", "human-input"),
        *("iteration-start", "loop-start", "loop-end", "trigger-webhook", "trigger-schedule"),
    }
)
"""Node types that call neither a model nor a tool: whatever they hold is the user's, and no price."""

_PARENT_KEYS = ("iteration_id", "loop_id")


class Cost(NamedTuple):
    """Amounts by currency ("" where the source names none), and whether they are all there is."""

    amounts: Mapping[str, Decimal]
    whole: bool


UNKNOWN = Cost({}, whole=False)
CostRule = Callable[[Sequence[NodeExecution]], Cost]


def run_cost(run: Run, detail: Detail, rule: CostRule | None = None) -> Cost:
    """Return what a run cost; without its nodes that is unknown, and of an open run there may be more."""
    if isinstance(detail, Missing) or isinstance(detail.nodes, Missing):
        return UNKNOWN
    amounts, whole = (rule or nodes_cost)(detail.nodes)
    return Cost(amounts, whole and not run.status.is_open)


def nodes_cost(nodes: Sequence[NodeExecution]) -> Cost:
    """Return the sum of the prices of a run's nodes.

    A container counts only where none of its children is listed, so that no price counts twice.  A price is
    what the engine wrote into the node's metadata, never what an input or output happens to call one.
    """
    amounts = summed((node, node.total_price, node.currency or "") for node in _priceable(nodes))
    whole = all(node.total_price is not None for node in nodes if node.node_type in MODEL_NODES)
    return Cost(amounts, whole)


def _priceable(nodes: Sequence[NodeExecution]) -> Iterable[NodeExecution]:
    parents = parents_of(nodes)
    for node in nodes:
        repeats = node.node_type in CONTAINERS and node.node_id in parents
        if not repeats and node.node_type not in FREE_NODES:
            yield node


def summed(prices: Iterable[tuple[NodeExecution, Decimal | None, str]]) -> Mapping[str, Decimal]:
    """Return the sums of nodes' prices by currency; None is no price."""
    totals: dict[str, Decimal] = {}
    for _, price, currency in prices:
        if price is not None:
            totals[currency] = totals.get(currency, Decimal(0)) + price
    return totals


def output_tokens(nodes: Sequence[NodeExecution]) -> int | None:
    """Return how many tokens the models of a run put out; None where none of them says.

    Only a model's node is asked for its usage: anybody else's object of that name is the user's.
    """
    counts = [
        count
        for node in nodes
        if node.node_type in MODEL_NODES and (count := _completion_tokens(node)) is not None
    ]
    return sum(counts) if counts else None


def _completion_tokens(node: NodeExecution) -> int | None:
    for payload in (node.metadata, _usage(node.process_data), _usage(node.outputs)):
        if isinstance(payload, dict) and (count := integer_of(payload.get("completion_tokens"))) is not None:
            return max(0, count)
    return None


def _usage(payload: Json) -> Json:
    return payload.get("usage") if isinstance(payload, dict) else None


def metadata_price(metadata: Json) -> tuple[Decimal | None, str | None]:
    """Return price and currency that a node's metadata holds, None where it has none."""
    if not isinstance(metadata, dict) or (price := decimal_of(metadata.get("total_price"))) is None:
        return None, None
    currency = metadata.get("currency")
    return price, currency if isinstance(currency, str) else None


def parents_of(nodes: Iterable[NodeExecution]) -> frozenset[str]:
    """Return the ids of the containers that have children among these nodes."""
    return frozenset(
        str(node.metadata[key])
        for node in nodes
        if isinstance(node.metadata, dict)
        for key in _PARENT_KEYS
        if node.metadata.get(key)
    )


def is_unknown(amounts: Mapping[str, Decimal], costed: int, runs: int) -> bool:
    """Return whether nothing is known of what runs cost; of ``costed`` of them all is known."""
    return runs > 0 and not amounts and not costed


def cost_json(amounts: Mapping[str, Decimal], costed: int, runs: int) -> dict[str, str] | None:
    """Return exact amounts as JSON texts by currency, None where nothing is known."""
    # An exponent, which str() may write, is no amount of money to a reader.
    return (
        None if is_unknown(amounts, costed, runs) else {name: f"{each:f}" for name, each in amounts.items()}
    )


_CENTS = Decimal("0.01")
_SIGNIFICANT = 4


def amount_text(amount: Decimal) -> str:
    """Write an amount for people: two places from 1 on, below it four digits that count."""
    if not amount:
        return "0"
    if abs(amount) >= 1:
        return f"{amount.quantize(_CENTS):f}"
    places = _SIGNIFICANT - 1 - amount.adjusted()
    return f"{round(amount, places):f}".rstrip("0")
