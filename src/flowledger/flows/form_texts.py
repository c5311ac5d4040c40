"""What the forms and descriptions of deployments say in Prefect, by language; the flows have the English."""

from collections.abc import Mapping

_ZH: Mapping[str, str] = {
    # Titles
    "App": "应用",
    "Period": "周期",
    "Time zone": "时区",
    "Keyword": "关键字",
    "Status": "状态",
    "Before": "截止时间",
    "After": "起始时间",
    "Formats": "格式",
    "Output folder": "输出目录",
    "Inputs and outputs": "读取输入与输出",
    "Node executions": "读取节点执行记录",
    "Keep the raw data beside the reports": "在报告旁保存原始数据",
    "Announce the outcome": "完成后发送通知",
    "Only say what would go": "只列出将删除的内容",
    "Workflow": "工作流",
    "Input": "输入",
    "Execution": "执行",
    # What is said below the titles
    "Name or id of an app in the settings": "配置中的应用名称或 ID",
    "Name or id of an app in the settings; empty for all": "配置中的应用名称或 ID；留空为全部应用",
    "As seen from the scheduled time, in the time zone": (
        "以计划时间为准，按时区计算：yesterday 昨天，today 今天，last_week 上周，last_month 上月，"
        "last_24h 过去 24 小时，custom 指定时段"
    ),
    "IANA name; empty for the app's own": "IANA 名称；留空为应用自己的时区",
    "In inputs, outputs or session id": "在输入、输出或会话 ID 中查找",
    "succeeded, failed, stopped, partial-succeeded, …": (
        "succeeded 成功，failed 失败，stopped 已停止，partial-succeeded 部分成功，…"
    ),
    "ISO 8601, inclusive; only with period custom": "ISO 8601，含该时刻；仅用于周期 custom",
    "csv, markdown, json; several with commas": "csv、markdown、json；多个用逗号分隔",
    "Empty for the settings' own": "留空为配置中的目录",
    "Failures are announced in any case": "失败时总会通知",
    "Name or number": "名称或编号",
    "JSON object; {} where the workflow needs none": "JSON 对象；工作流不需要输入时为 {}",
    "Id of one that shall go on; else a new one starts": "要继续的执行的 ID；留空则新建一个",
    # The entries of config/deployments.yaml as they come
    "Collects and reports the day before.": "采集并报告前一天。",
    "Reports the week before, Monday to Sunday.": "报告上一周（周一至周日）。",
    'Any period and filter, started by hand with "Custom run".': "任意时段与筛选，用“Custom run”手动启动。",
    "Removes stored reports that are older, more or larger than the settings keep.": (
        "删除超出配置所保留天数、份数或容量的报告。"
    ),
}
TEXTS: Mapping[str, Mapping[str, str]] = {"zh": _ZH, "en": {}}
"""Language → English text → its text; a description that somebody wrote himself stays as it is."""


def form_text(english: str, language: str) -> str:
    """Return a title or a description in a language."""
    return TEXTS[language].get(english, english)
