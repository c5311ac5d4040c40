"""The words that made-up runs are made of."""

from collections.abc import Sequence
from typing import TypeVar

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
    """Give one of the items, the same for the same number."""
    return items[number % len(items)]
