"""Inputs, outputs and node executions generated from a seed on demand, always the same."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TypeVar
from uuid import UUID

from flowledger_simulator.payloads import author_fields
from flowledger_simulator.world import EndUser, Json, SimulatedRun

Item = TypeVar("Item")

QUESTIONS = (
    "请问贵公司的退货政策是什么？",
    "订单 20260311 还没有发货，能帮我查一下物流吗",
    "Why is my API key rejected with 401?",
    "如何重置密码？我已经试了三次了😭",
    "人工客服在哪里 👩‍💼",
    "مرحبا كيف حالك",
    "=SUM(A1:A9) 这个公式为什么报错",
    "发票抬头写“上海 <测试> 有限公司 | 财务部”可以吗？",
)
ANSWERS = (
    "您好，自签收之日起 7 天内可无理由退货，请保持商品完好。",
    "根据知识库，电池保修 12 个月，主机保修 24 个月。🔋",
    "请打开 *设置 → 安全*，选择“重置密码”，然后按短信提示操作。",
    "| 列 | 值 |\n|---|---|\n| 甲 | 1 |\n| 乙 | 2 |\n以上为查询结果，请核对后回复。",
    "物流显示包裹已于昨日到达本地分拨中心，预计今天送达。",
)
KNOWLEDGE = (
    ("售后政策", "退换货流程.md"),
    ("FAQ-English", "billing.html"),
    ("售后政策（2026）", "保修条款.pdf"),
    ("产品手册", "电池与充电.docx"),
    ("FAQ", "faq_2026.txt"),
)
MODELS = (
    ("langgenius/openai/openai", "gpt-4o-mini", "USD"),
    ("langgenius/tongyi/tongyi", "qwen-max", "RMB"),
    ("langgenius/deepseek/deepseek", "deepseek-chat", "RMB"),
)
ERRORS = (
    "[Errno 111] Connection refused",
    "('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))",
    "Text size is too large, max size is 1.00 MB, but current size is 1.95 MB.",
    "[openai] Rate Limit Error, 请求过于频繁，请稍后再试",
)
TITLES = {
    "start": "开始",
    "knowledge-retrieval": "知识检索",
    "if-else": "路由",
    "llm": "大模型",
    "http-request": "HTTP 通知",
    "end": "结束",
    "answer": "直接回复",
}


def pick(items: Sequence[Item], number: int) -> Item:
    """Return one of the items, the same for the same number."""
    return items[number % len(items)]


_MIDDLE = ("knowledge-retrieval", "if-else", "llm", "http-request")
_ABORTED: Json = {"iteration_id": None, "loop_id": None}
_OVERHEAD_BYTES = 1_160
_SHORTEST = 12


@dataclass(frozen=True, slots=True)
class Shape:
    """How much a run does: number of nodes and mean size of one, in kB of JSON."""

    nodes: int = 6
    node_kb: float = 4.0
    chat: bool = False

    def kinds(self) -> tuple[str, ...]:
        """Return the node types in order, from the start node to the end (chatflow: answer) node."""
        middle = tuple(_MIDDLE[number % len(_MIDDLE)] for number in range(max(0, self.nodes - 2)))
        return ("start", *middle, "answer" if self.chat else "end")

    def sizes(self) -> tuple[float, float]:
        """Return the JSON bytes of an answer and of a retrieved context that give nodes their mean size."""
        kinds = self.kinds()
        models, searches = kinds.count("llm"), kinds.count("knowledge-retrieval")
        spare = max(0.0, len(kinds) * (self.node_kb * 1024 - _OVERHEAD_BYTES)) / 2
        return spare / (models + 2), spare / (models + searches) if searches else 0.0


def steps_of(status: str, nodes: int) -> int:
    """Return how many nodes a run of a status executes."""
    if status in ("failed", "stopped"):
        return max(1, nodes - 1)
    if status == "paused":
        return max(1, nodes // 2)
    return nodes


@dataclass(frozen=True, slots=True)
class MadeContent:
    """The content of a generated run; it follows the run's status when that changes."""

    seed: int
    shape: Shape

    def inputs(self, run: SimulatedRun) -> Json:
        """Return the start node's inputs, with what the server adds itself."""
        name = "sys.query" if self.shape.chat else "query"
        return {
            name: self._question(),
            "language": None if self.seed % 5 == 0 else "zh",
            "sys.files": [],
            "sys.user_id": run.author.session_id if isinstance(run.author, EndUser) else run.author.id,
            "sys.app_id": run.app_id,
            "sys.workflow_id": run.workflow_id,
            "sys.workflow_run_id": run.id,
            "sys.timestamp": run.created_at,
        }

    def outputs(self, run: SimulatedRun) -> Json | None:
        """Return the end node's outputs; "{}" while running, null where a run did not reach the end."""
        if run.status in ("succeeded", "partial-succeeded"):
            return {"answer": self._answer()}
        return {} if run.status == "running" else None

    def nodes(self, run: SimulatedRun) -> Sequence[Json]:
        """Return the node executions; a ``running`` run is a zombie whose nodes have all ended."""
        return _Writer(self, run).write()

    def _question(self) -> str:
        return f"{pick(QUESTIONS, self.seed)} #{self.seed % 10_000}"

    def _answer(self) -> str:
        return _fill(pick(ANSWERS, self.seed), self.shape.sizes()[0])

    def _context(self) -> str:
        return _fill(pick(ANSWERS, self.seed + 1), self.shape.sizes()[1])


@lru_cache(maxsize=256)
def _fill(phrase: str, size: float) -> str:
    """Repeat a phrase until its ASCII-escaped JSON has so many bytes."""
    length = max(_SHORTEST, int(size * len(phrase) / len(json.dumps(phrase))))
    return (phrase * (length // len(phrase) + 1))[:length]


class _Writer:
    """The node executions of one run."""

    def __init__(self, content: MadeContent, run: SimulatedRun) -> None:
        self.run = run
        self.content = content
        self.rng = random.Random(content.seed)
        self.inputs = content.inputs(run)
        self.answer = content._answer()
        self.context = content._context()
        self.author = author_fields(run.author)

    def write(self) -> list[Json]:
        kinds = self.content.shape.kinds()
        taken = kinds[: steps_of(self.run.status, len(kinds))]
        models = max(1, taken.count("llm"))
        share = self.run.elapsed_time / len(taken)
        nodes = [self._node(place, kind, share, models) for place, kind in enumerate(taken)]
        self._apply_status(nodes)
        return nodes

    def _node(self, place: int, kind: str, share: float, models: int) -> Json:
        began = self.run.started_us + int(place * share * 1_000_000)
        inputs, process, outputs, metadata = self._payload(kind, models)
        return {
            "id": str(UUID(int=self.rng.getrandbits(128), version=4)),
            "index": place + 1,
            "predecessor_node_id": None,
            "node_id": f"{kind}-{place + 1}",
            "node_type": kind,
            "title": TITLES[kind],
            "inputs": inputs,
            "process_data": process,
            "outputs": outputs,
            "status": "succeeded",
            "error": None,
            "elapsed_time": round(share, 6),
            "execution_metadata": metadata,
            "extras": {},
            "created_at": began // 1_000_000,
            **self.author,
            "finished_at": (began + int(share * 1_000_000)) // 1_000_000,
            "inputs_truncated": False,
            "outputs_truncated": False,
            "process_data_truncated": False,
        }

    def _payload(self, kind: str, models: int) -> tuple[Json, Json, Json, Json]:
        if kind == "start":
            return self.inputs, {}, self.inputs, {}
        if kind == "knowledge-retrieval":
            return self._retrieval()
        if kind == "llm":
            return self._model(self.run.total_tokens // models)
        if kind == "if-else":
            chosen = {"result": False, "selected_case_id": "false"}
            return {"conditions": []}, {"condition_results": []}, chosen, {}
        if kind == "http-request":
            sent = "POST /notify HTTP/1.1\r\nHost: example.invalid\r\nContent-Length: 2\r\n\r\n{}"
            body = {"status_code": 200, "body": '{"消息": "成功"}', "headers": {}, "files": []}
            return {}, {"request": sent}, body, {}
        return {"answer": self.answer}, {}, {"answer": self.answer}, {}

    def _retrieval(self) -> tuple[Json, Json, Json, Json]:
        pieces = 2 + self.content.seed % 2
        length = max(1, len(self.context) // pieces)
        segments = [self._segment(place, self.context[place * length :][:length]) for place in range(pieces)]
        metadata = {"total_tokens": 0, "total_price": "0", "currency": "USD"}
        return {"query": self.content._question()}, {}, {"result": segments}, metadata

    def _segment(self, place: int, text: str) -> Json:
        base, document = pick(KNOWLEDGE, self.content.seed + place)
        metadata = {
            "_source": "knowledge",
            "dataset_id": str(UUID(int=hash_text(base), version=4)),
            "dataset_name": base,
            "document_id": str(UUID(int=hash_text(document), version=4)),
            "document_name": document,
            "data_source_type": "upload_file",
            "segment_id": str(UUID(int=self.rng.getrandbits(128), version=4)),
            "retriever_from": "workflow",
            "score": round(0.95 - 0.07 * place, 6),
            "child_chunks": [],
            "segment_position": place + 1,
            "doc_metadata": None,
            "position": place + 1,
        }
        return {"metadata": metadata, "title": document, "files": None, "content": text}

    def _model(self, tokens: int) -> tuple[Json, Json, Json, Json]:
        provider, name, currency = pick(MODELS, self.content.seed)
        usage = self._usage(tokens, currency)
        prompts = [
            {"role": "system", "text": "你是客服", "files": []},
            {"role": "user", "text": self.content._question(), "files": []},
        ]
        process: Json = {
            "model_mode": "chat",
            "prompts": prompts,
            "usage": usage,
            "finish_reason": "stop",
            "model_provider": provider,
            "model_name": name,
        }
        outputs = {"text": self.answer, "reasoning_content": "", "usage": usage, "finish_reason": "stop"}
        price = {"total_tokens": tokens, "total_price": usage["total_price"], "currency": currency}
        return {"#context#": self.context, "sys.files": []}, process, outputs, price

    def _usage(self, tokens: int, currency: str) -> Json:
        prompted = tokens * 3 // 5
        answered = tokens - prompted
        prices = (prompted * 150, answered * 600)
        return {
            "prompt_tokens": prompted,
            "prompt_unit_price": "0.15",
            "prompt_price_unit": "0.000001",
            "prompt_price": _money(prices[0]),
            "completion_tokens": answered,
            "completion_unit_price": "0.6",
            "completion_price_unit": "0.000001",
            "completion_price": _money(prices[1]),
            "total_tokens": tokens,
            "total_price": _money(sum(prices)),
            "currency": currency,
            "latency": round(self.run.elapsed_time, 3),
            "time_to_first_token": 0.378,
            "time_to_generate": round(self.run.elapsed_time / 2, 3),
        }

    def _apply_status(self, nodes: list[Json]) -> None:
        """Make the last node (of a partial run: the one before) end as the run's status requires."""
        if self.run.status == "failed":
            nodes[-1] |= {"status": "failed", "error": self.run.error, "outputs": {}}
        elif self.run.status in ("stopped", "paused"):
            ended = self.run.status == "stopped"
            nodes[-1] |= {"process_data": None, "outputs": None, "execution_metadata": _ABORTED}
            nodes[-1] |= {"inputs": None, "status": "failed" if ended else "paused"}
            nodes[-1] |= {"error": "Aborted: User requested stop"} if ended else {"finished_at": None}
        elif self.run.status == "partial-succeeded" and len(nodes) > 2:
            failure = {"error_message": ERRORS[0], "error_type": "HttpRequestNodeError"}
            nodes[-2] |= {"status": "exception", "error": ERRORS[0], "outputs": failure}
            nodes[-2]["execution_metadata"] = {
                **nodes[-2]["execution_metadata"],
                "error_strategy": "default-value",
            }


def _money(billionths: int) -> str:
    return format(Decimal(billionths).scaleb(-9).quantize(Decimal("0.0000001")), "f")


def hash_text(text: str) -> int:
    """Return a number for a text that is the same in every process."""
    return random.Random(text).getrandbits(128)
