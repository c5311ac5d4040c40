"""Name → "module:Class" of every exchangeable part; adding one is one file and one line here."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from flowledger.errors import UsageError

REPORT_FORMATS: Mapping[str, str] = {
    "csv": "flowledger.reports.csv_files:CsvFormat",
    "markdown": "flowledger.reports.markdown:MarkdownFormat",
    "json": "flowledger.reports.json_file:JsonFormat",
    "data": "flowledger.reports.raw_data:RawDataFormat",
}
LEDGERS: Mapping[str, str] = {
    "sqlite": "flowledger.ledger.sql.ledger:SqlLedger",
    "postgresql": "flowledger.ledger.sql.ledger:SqlLedger",
    "memory": "flowledger.ledger.sql.ledger:SqlLedger",
    "file": "flowledger.ledger.folder_ledger:FolderLedger",
}
STORAGES: Mapping[str, str] = {
    "local": "flowledger.storage.local:LocalStorage",
    "s3": "flowledger.storage.s3:S3Storage",
    "oss": "flowledger.storage.oss:OssStorage",
}
CHANNELS: Mapping[str, str] = {
    "email": "flowledger.notify.email:EmailChannel",
    "dingtalk": "flowledger.notify.dingtalk:DingTalkChannel",
    "wechat": "flowledger.notify.wechat:WeChatChannel",
    "feishu": "flowledger.notify.feishu:FeishuChannel",
    "webhook": "flowledger.notify.webhook:WebhookChannel",
}
SECRETS: Mapping[str, str] = {
    "file": "flowledger.settings.references:read_file",
    "enc": "flowledger.settings.encryption:decrypt",
    "prefect": "flowledger.flows.secret_blocks:read_block",
}
"""Word before the colon of a secret's reference → the function that reads it."""
PREFECT: Mapping[str, str] = {
    "point_at": "flowledger.flows.environment:point_at",
    "place_order": "flowledger.flows.report_orders:place_order",
    "state_of_order": "flowledger.flows.report_orders:state_of_order",
    "check_scheduler": "flowledger.flows.report_orders:check_scheduler",
    "report": "flowledger.flows.workflows:report",
    "scheduler": "flowledger.flows.workflow_schedules:PrefectScheduler",
}
"""What others ask of Prefect → what does it in ``flows``, the only room that imports Prefect."""
DECODERS: Mapping[str, str] = {
    "dify": "flowledger.dify.parsing:decode",
    "log": "flowledger.domain.record_kinds:logged_detail",
    "coze": "flowledger.domain.record_kinds:coze_detail",
    "local": "flowledger.domain.workflows.execution_runs:decode",
}
NODES: Mapping[str, str] = {
    "START": "flowledger.nodes.start:StartNode",
    "END": "flowledger.nodes.end:EndNode",
    "API_CALL": "flowledger.nodes.api_call:ApiCallNode",
    "CONDITION": "flowledger.nodes.condition:ConditionNode",
    "DELAY": "flowledger.nodes.delay:DelayNode",
    "PARALLEL": "flowledger.nodes.parallel:ParallelNode",
    "LOOP": "flowledger.nodes.loop:LoopNode",
    "APPROVAL": "flowledger.nodes.approval:ApprovalNode",
    "SUBWORKFLOW": "flowledger.nodes.subworkflow:SubworkflowNode",
    "TRANSFORM": "flowledger.nodes.transform:TransformNode",
    "MERGE": "flowledger.nodes.merge:MergeNode",
    "NOTIFY": "flowledger.nodes.notify:NotifyNode",
    "REPORT": "flowledger.nodes.report:ReportNode",
    "DIFY_RUN": "flowledger.nodes.dify_run:DifyRunNode",
    "COZE_RUN": "flowledger.nodes.coze_run:CozeRunNode",
}
"""Type of a node → its class: the schema of its config, and what runs it unless the planner decides it."""
NODE_PLUGINS = "flowledger.nodes"
"""Group of entry points: handlers of further types that installed packages bring."""
NODE_HANDLERS: Mapping[str, str] = {
    "custom_processor_handler": "flowledger.nodes.sample_processor:SampleProcessor",
}
"""Handlers of custom types that are installed with Flowledger itself."""
REGISTRIES: Mapping[str, Mapping[str, str]] = {
    "report format": REPORT_FORMATS,
    "ledger": LEDGERS,
    "storage": STORAGES,
    "channel": CHANNELS,
    "secret": SECRETS,
    "prefect": PREFECT,
    "decoder": DECODERS,
    "node type": NODES,
}


def load(kind: str, name: str) -> Any:
    """Import the class or function registered under a name.

    :raises UsageError: with the known names, for an unknown one.
    """
    registry = REGISTRIES[kind]
    if name not in registry:
        raise UsageError(f"unknown {kind} {name!r}: one of {', '.join(sorted(registry))}")
    module, _, attribute = registry[name].partition(":")
    return getattr(import_module(module), attribute)
