"""Messages come from templates that people may replace, and hostile texts do nothing in them."""

import html
import json
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowledger import plugins
from flowledger.domain.messages import Occasion, stored_locally_note
from flowledger.errors import SettingsError
from flowledger.notify.notices import sample_notice, sample_notices
from flowledger.notify.templates import (
    PACKAGED,
    Templates,
    check_templates,
    show_duration,
    show_percent,
    show_signed,
)

CHANNELS = tuple(plugins.CHANNELS)
ROBOTS = ("dingtalk", "wechat", "feishu")
FAILURE = sample_notice(Occasion.FAILURE, "en")
SUCCESS = sample_notice(Occasion.SUCCESS, "zh")


def problems_of(folder: Path, channels: tuple[str, ...] = ("dingtalk",)) -> list[str]:
    """Check a folder of templates."""
    return list(check_templates(folder, channels))


@pytest.mark.parametrize("channel", CHANNELS)
def test_every_channel_has_templates(channel: str) -> None:
    """Each occasion is written in each language, whether everything is known or next to nothing."""
    for notice in sample_notices():
        message = Templates().strictly(notice, channel)
        assert message.subject.startswith("[Flowledger] ")
        assert len(message.subject) <= 120
        assert "\n" not in message.subject
        assert message.body
        assert message.urgent is notice.occasion.needs_action
        assert bool(message.html) is (channel == "email")
        assert bool(message.data) is (channel == "webhook")


@pytest.mark.parametrize("channel", CHANNELS)
def test_trouble_says_what_to_do(channel: str) -> None:
    """In both languages, with the command that puts it right."""
    for language, words in (("zh", "怎么办"), ("en", "What to do")):
        for occasion in (Occasion.UNCERTIFIED, Occasion.FAILURE, Occasion.CRASH):
            body = Templates().strictly(sample_notice(occasion, language), channel).body
            assert words in body
            assert "/runs/flow-run/" in body


def test_a_success_in_chinese_reads_like_this() -> None:
    """The most important first; the change against the period before stands beside its figure."""
    lines = Templates().strictly(SUCCESS, "wechat").body.splitlines()
    assert lines[:4] == [
        "**sample-app · 昨天 2026-01-05：128 次运行，7 次未成功**",
        "> 运行：128（上期 120，+6.7%）",
        "> 未成功：7（上期 0，+7）",
        "> 状态：成功 120，失败 7，运行中 1",
    ]
    assert "> 采集证明：已证明完整：源端 128，实收 128，另有 2 条源端已删、台账仍存" in lines


@pytest.mark.parametrize(
    ("language", "period", "subject"),
    [
        ("zh", "yesterday", "日报 2026-01-05（补发）"),
        ("en", "yesterday", "Daily report 2026-01-05 (late)"),
        ("zh", "last_week", "周报 2026-01-05（补发）"),
        ("en", "last_month", "Monthly report 2026-01-05 (late)"),
    ],
)
@pytest.mark.parametrize("occasion", [Occasion.SUCCESS, Occasion.UNCERTIFIED, Occasion.FAILURE])
def test_a_report_that_comes_late_is_named_by_its_date(
    language: str, period: str, subject: str, occasion: Occasion
) -> None:
    """The word of its period means other days by now, and is not used."""
    sample = sample_notice(occasion, language)
    late = replace(sample, period=period, result={**sample.result, "late": True})
    message = Templates().message(late, "email")
    assert subject in message.subject
    assert "昨天" not in message.subject
    assert " yesterday" not in message.subject


@pytest.mark.parametrize(
    ("language", "fact", "why"),
    [
        ("zh", "共 3 次，均失败", "02:01 dify.example.com：应答未完，连接已断开"),
        ("en", "3 times, all failed", "02:01 dify.example.com: the connection broke"),
    ],
)
def test_a_failure_says_what_was_tried(language: str, fact: str, why: str) -> None:
    """Each earlier try with its time and reason, in the language of the message."""
    cut = "dify.example.com: the connection broke before the answer was complete"
    tries = [{"at": "02:00", "error": "no answer"}, {"at": "02:01", "error": cut}]
    sample = sample_notice(Occasion.FAILURE, language)
    body = Templates().message(replace(sample, result={**sample.result, "tries": tries}), "email").body
    assert fact in body
    assert "02:00 no answer" in body
    assert why in body
    assert fact not in Templates().message(sample, "email").body


@pytest.mark.parametrize(("language", "fact"), [("zh", "3 份漏掉的报告"), ("en", "3 missed reports follow")])
def test_a_run_says_how_many_reports_it_caught_up(language: str, fact: str) -> None:
    """In the message of the run that started them."""
    sample = sample_notice(Occasion.SUCCESS, language)
    assert (
        fact in Templates().message(replace(sample, result={**sample.result, "caught_up": 3}), "email").body
    )
    assert fact not in Templates().message(sample, "email").body


def test_messages_use_the_words_of_the_reports() -> None:
    """A certificate, a proof and the ledger are called in messages what reports and documents call them."""
    notices = [notice for notice in sample_notices() if notice.language == "zh"]
    told = [Templates().strictly(notice, channel) for notice in notices for channel in CHANNELS]
    text = "".join(message.subject + message.body + message.html for message in told)
    assert all(word in text for word in ("采集证明", "已证明", "【未证明】", "台账"))
    assert not any(word in text for word in ("证书", "核实", "账本"))


KEPT = {
    "zh": "报告暂存本机，存储恢复后由下一次运行上传：存储暂不可用：无法存放 s3://b/x：",
    "en": "Kept on this machine until the storage takes it; the next run uploads it: storage away: cannot",
}


@pytest.mark.parametrize("language", ["zh", "en"])
def test_what_waits_on_this_machine_is_said_first(language: str) -> None:
    """In the language of the message, the consequence before the reason, and not once more as a note."""
    reason = "storage away: cannot store s3://b/x: " + "x" * 400
    notes = ["only runs with status failed", stored_locally_note(reason)]
    result = {**SUCCESS.result, "kept_locally": True, "notes": notes}
    notice = replace(SUCCESS, language=language, result=result)
    for channel in CHANNELS:
        body = Templates().strictly(notice, channel).body
        plain = body.replace("\\", "")
        assert KEPT[language] in plain
        assert plain.index(KEPT[language]) < plain.index("128（" if language == "zh" else "128 (")
        assert {"zh": "仅含 status failed 的运行", "en": "only runs with status failed"}[language] in plain
        assert "x" * 250 not in body
        assert body.count({"zh": "无法存放", "en": "cannot store"}[language]) == 1


@pytest.mark.parametrize(
    ("period", "promised"),
    [
        ("yesterday", True),
        ("last_week", True),
        ("last_month", True),
        ("today", False),
        ("last_24h", False),
        ("custom", False),
    ],
)
def test_only_a_scheduled_period_is_caught_up(period: str, promised: bool) -> None:
    """The next run of a schedule fills no window that a person chose, nor one that moves."""
    for language, words in (("zh", "下一次定时运行也会补上"), ("en", "the next scheduled run catches up")):
        notice = replace(sample_notice(Occasion.CRASH, language), period=period)
        body = Templates().strictly(notice, "email").body
        assert (words in body) is promised
        assert "flowledger run" in body


def test_a_failure_in_english_reads_like_this() -> None:
    """What happened, to which app and window, what to do, and where to look."""
    assert Templates().strictly(FAILURE, "email").body.splitlines() == [
        "[FAILED] sample-app · yesterday 2026-01-05: not finished",
        "",
        "Reason: AuthenticationError: the key was refused",
        "  - check api_token of sample-app",
        "Window: 2026-01-05 00:00:00 to 2026-01-05 23:59:59 (+0800)",
        "At: 2026-01-06 02:00:00 +0000",
        "",
        'What to do: put right what "Reason" says, then retry this run in Prefect, or call flowledger run '
        "--app sample-app --after 2026-01-05T00:00:00+08:00 --before 2026-01-05T23:59:59+08:00. "
        "What was collected is in the ledger and is not asked for again.",
        "",
        "This run in Prefect: http://127.0.0.1:4200/runs/flow-run/22222222-2222-4222-8222-222222222222",
    ]


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("occasion", [Occasion.FAILURE, Occasion.CRASH])
def test_what_is_no_report_is_named_and_not_told_to_be_run_as_one(occasion: Occasion, language: str) -> None:
    """A cleanup has no period: the message names it, and gives no command that would write a report."""
    notice = replace(
        FAILURE, occasion=occasion, language=language, period="", result={}, task="cleanup · all apps"
    )
    body = Templates().strictly(notice, "email").body
    assert "cleanup · all apps" in body
    assert "flowledger run" not in body
    assert "Prefect" in body


def test_a_message_fits_the_smallest_robot() -> None:
    """WeCom takes 4,096 bytes: even a long error leaves room for what to do."""
    for occasion in Occasion:
        for language in ("zh", "en"):
            long = replace(sample_notice(occasion, language), error="错误 error " * 1000)
            assert len(Templates().strictly(long, "wechat").body.encode()) <= 4096


HOSTILE = '<at user_id="all"></at> [x](javascript:alert) **b** `c` <b>h</b> @all\n# title\n> quote'


@pytest.mark.fault(23)
@pytest.mark.parametrize("channel", ROBOTS)
def test_hostile_texts_mention_nobody(channel: str) -> None:
    """A run's error can neither mention people, nor link, nor begin a heading."""
    failures = [{"run_id": HOSTILE, "node": HOSTILE, "error": HOSTILE}]
    notice = replace(SUCCESS, error=HOSTILE, result={**SUCCESS.result, "failures": failures})
    body = Templates().strictly(notice, channel).body
    assert "<at" not in body
    assert not re.search(r"(?<!\\)\]\(javascript", body)
    assert "\n# title" not in body
    assert "\n> quote" not in body


class Tags(HTMLParser):
    """Collects the tags and the addresses of a document."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name == "href"]


@pytest.mark.fault(23)
def test_html_stays_text_in_mail() -> None:
    """Tags in an error or a name are shown; an address that is none is no link."""
    links = {"<script>": "javascript:alert(1)", "a": 'https://files.example.com/"><script>'}
    notice = replace(SUCCESS, app_name="<img src=x>", error="<script>x</script>", links=links)
    html = Templates().strictly(notice, "email").html
    read = Tags()
    read.feed(html)
    assert not read.tags & {"script", "img"}
    assert "&lt;script&gt;x&lt;/script&gt;" in html
    assert all(str(address).startswith("http") for address in read.addresses)


@given(st.text(max_size=200), st.sampled_from(CHANNELS))
def test_any_text_can_be_told(text: str, channel: str) -> None:
    """Whatever a run or a name holds, a message is written and can be sent as UTF-8."""
    notice = replace(FAILURE, error=text, app_name=text, period=text, links={text: text}, run_url=text)
    message = Templates().strictly(notice, channel)
    for part in (message.subject, message.body, message.html):
        part.encode()
    assert "\n" not in message.subject
    assert "\r" not in message.subject


def test_machines_are_told_values() -> None:
    """A webhook has the notice as plain JSON values beside its text."""
    data = Templates().strictly(SUCCESS, "webhook").data
    assert json.loads(json.dumps(data)) == data
    assert (data["occasion"], data["app"], data["urgent"]) == ("success", "sample-app", False)


def test_a_folder_replaces_single_templates(tmp_path: Path) -> None:
    """What it lacks is taken from the packaged ones, shared words too."""
    (tmp_path / "dingtalk.zh.md.j2").write_text(
        "{{ app | esc }} 跑了 {{ figures.runs }} 次", encoding="utf-8"
    )
    templates = Templates(tmp_path)
    assert templates.message(SUCCESS, "dingtalk").body == "sample-app 跑了 128 次"
    assert templates.message(SUCCESS, "wechat") == Templates().message(SUCCESS, "wechat")
    assert Templates(tmp_path / "none").message(SUCCESS, "wechat").body


def test_words_can_be_replaced_for_all_channels(tmp_path: Path) -> None:
    """One file holds what is said in a language."""
    words = (PACKAGED / "words.en.j2").read_text(encoding="utf-8").replace("What to do:", "Call Ann:")
    (tmp_path / "words.en.j2").write_text(words, encoding="utf-8")
    for channel in CHANNELS:
        assert "Call Ann:" in Templates(tmp_path).message(FAILURE, channel).body


BROKEN = {
    "syntax": ("line one\n{% if %}", "line 2"),
    "unknown name": ("one\ntwo\n{{ fugures.runs }}", "line 3"),
    "unknown figure": ("{{ window.start }}", "line 1"),
    "unknown filter": ("{{ app | shout }}", "line 1"),
    "missing part": ("{% include 'gone.j2' %}", "gone.j2"),
    "way out": ("{{ ''.__class__.__mro__ }}", "unsafe"),
    "arithmetic": ("\n{{ 1 / 0 }}", "ZeroDivisionError"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_template_is_found_with_its_place(tmp_path: Path, kind: str) -> None:
    """Each problem is one line that names file and line; it is found before a message is needed."""
    text, told = BROKEN[kind]
    path = tmp_path / "dingtalk.en.md.j2"
    path.write_text(text, encoding="utf-8")
    problems = problems_of(tmp_path)
    assert problems
    assert all(told in problem and path.name in problem for problem in problems)
    assert all("\n" not in problem for problem in problems)


def test_a_template_that_is_no_text_is_found(tmp_path: Path) -> None:
    """UTF-8 is asked for."""
    (tmp_path / "email.zh.txt.j2").write_bytes("数据".encode("gb18030"))
    assert any("email.zh.txt.j2" in problem for problem in problems_of(tmp_path, ("email",)))


@pytest.mark.parametrize(
    "name", ["dingtalk.fr.md.j2", "dingding.zh.md.j2", "email.zh.md.j2", "words.zh.txt.j2"]
)
def test_a_template_that_nothing_uses_is_found(tmp_path: Path, name: str) -> None:
    """A mistyped name would silently do nothing."""
    (tmp_path / name).write_text("x", encoding="utf-8")
    (problem,) = problems_of(tmp_path)
    assert name in problem
    assert "dingtalk.zh.md.j2" in problem


def test_parts_and_other_files_are_nobodys_business(tmp_path: Path) -> None:
    """A part that begins with ``_`` may be included; what is no template is passed over."""
    (tmp_path / "_footer.j2").write_text("-- ops", encoding="utf-8")
    (tmp_path / "README.md").write_text("x", encoding="utf-8")
    (tmp_path / "webhook.en.txt.j2").write_text("{% include '_footer.j2' %}", encoding="utf-8")
    assert problems_of(tmp_path, ("webhook",)) == []
    assert Templates(tmp_path).message(FAILURE, "webhook").body == "-- ops"


def test_the_packaged_templates_have_no_problems() -> None:
    """All of them, and those of the checkout are the same files."""
    assert problems_of(PACKAGED, CHANNELS) == []
    checkout = Path(__file__).parents[3] / "config" / "templates"
    assert {path.name for path in checkout.glob("*.j2")} == {path.name for path in PACKAGED.glob("*.j2")}


def test_a_broken_template_gives_way_to_the_packaged_one(tmp_path: Path) -> None:
    """Bad news is told even where somebody's template fails at night."""
    (tmp_path / "email.en.txt.j2").write_text("{{ nobody.knows }}", encoding="utf-8")
    assert Templates(tmp_path).message(FAILURE, "email") == Templates().message(FAILURE, "email")


def test_a_type_without_templates_is_named(tmp_path: Path) -> None:
    """Whoever adds a channel learns which file is missing, and where."""
    with pytest.raises(SettingsError, match=r"pager\.en\.md\.j2 or pager\.en\.txt\.j2"):
        Templates(tmp_path).message(FAILURE, "pager")
    (tmp_path / "pager.en.txt.j2").write_text("{{ app }}: {{ error | clip(10) | esc }}", encoding="utf-8")
    assert Templates(tmp_path).message(FAILURE, "pager").body == "sample-app: Authentic…"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (show_duration(0.04), "0.0 s"),
        (show_duration(59.9), "59.9 s"),
        (show_duration(59.99), "1 min 0 s"),
        (show_duration(185), "3 min 5 s"),
        (show_duration(7439), "2 h 3 min"),
        (show_signed(0), "±0"),
        (show_signed(-1200), "-1,200"),
        (show_percent(6.666), "+6.7%"),
        (show_percent(-100), "-100.0%"),
        (show_percent(123_456), "+123,456%"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    """Durations, differences and changes as people write them."""
    assert shown == expected


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("channel", ["email", "dingtalk", "feishu", "wechat"])
def test_failed_runs_have_time_user_question_and_a_link_and_no_path_of_the_server(
    channel: str, language: str
) -> None:
    """What people know a run by; its times are the app's."""
    notice = replace(
        sample_notice(Occasion.SUCCESS, language),
        at=datetime(2026, 1, 6, 10, tzinfo=timezone(timedelta(hours=8))),
        logs_url="https://dify.example.com/app/a/logs",
    )
    message = Templates().message(notice, channel)
    for text in filter(None, (message.body, message.html)):
        assert "2026-01-05 17:00:00" in text
        assert "user-17" in text
        assert "How " in text
        assert "https://dify.example.com/app/a/logs" in text
        assert "/var/reports" not in text


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("channel", CHANNELS)
def test_a_request_for_approval_says_what_by_whom_until_when(language: str, channel: str) -> None:
    """With the links, and the command for those who have none; nothing of it is markup."""
    at = datetime(2026, 1, 6, 10, tzinfo=timezone(timedelta(hours=8)))
    sample = replace(sample_notice(Occasion.APPROVAL_REQUIRED, language), at=at)
    message = Templates().strictly(sample, channel)
    assert "publish" in message.subject
    if channel == "webhook":
        assert message.data["step"] == dict(sample.step)
        return
    body = html.unescape(message.body).replace("\\", "")
    for part in ("Publish version", "cat", "2026-01-07 10:00:00", "approvals/sample", "execution approve"):
        assert part in body, part
    assert "<2.0>" not in message.html


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("channel", CHANNELS)
def test_a_failed_step_says_why_and_what_to_do(language: str, channel: str) -> None:
    """With the command that tries it again."""
    message = Templates().strictly(sample_notice(Occasion.STEP_FAILED, language), channel)
    if channel != "webhook":
        assert "HTTP 503" in message.body
        assert "execution retry" in message.body.replace("\\", "")
