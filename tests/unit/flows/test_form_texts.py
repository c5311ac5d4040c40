"""The forms that people fill in at Prefect speak the language of the app's reports."""

import re
from collections.abc import Iterator

import pytest

from flowledger.domain.runs import AppKey
from flowledger.flows.form_texts import TEXTS
from flowledger.flows.registration import FLOWS, form_of
from flowledger.services.deploy import WORKFLOW, Deployment, Entry, Target, deployments_of
from flowledger.settings.schedules import USUAL

APP = AppKey("dify", "a-1")


def deployments(language: str) -> Iterator[Deployment]:
    """Yield the usual deployments of an app, and one of a workflow."""
    entries = {
        key: Entry(
            key=key,
            name=each["name"],
            flow=each.get("flow", "report"),
            cron=None,
            period="yesterday",
            description=each["description"],
        )
        for key, each in USUAL.items()
    }
    entries[WORKFLOW] = Entry(
        key=WORKFLOW,
        name="night",
        flow=WORKFLOW,
        cron=None,
        period="",
        parameters={WORKFLOW: "night", "input": {}},
        description=USUAL["cleanup"]["description"],
        language=language,
    )
    yield from deployments_of([Target(APP, "sales", "Asia/Shanghai", language=language)], entries)[0]


def words_of(deployment: Deployment) -> Iterator[str]:
    """Yield the titles and descriptions of a form."""
    for field in form_of(deployment)["properties"].values():
        yield from (field[word] for word in ("title", "description") if word in field)


@pytest.mark.parametrize("flow", FLOWS)
def test_every_text_of_a_form_is_in_the_language_of_the_app(flow: str) -> None:
    """No English title in a Chinese form, and no Chinese in an English one."""
    by_language = {
        language: [word for each in deployments(language) if each.flow == flow for word in words_of(each)]
        for language in TEXTS
    }
    assert by_language["en"]
    assert set(by_language["en"]) <= TEXTS["zh"].keys()
    assert all(re.search("[\u4e00-\u9fff]", word) for word in by_language["zh"])
    assert not any(re.search("[\u4e00-\u9fff]", word) for word in by_language["en"])


def test_no_text_of_a_form_is_left_over() -> None:
    """What no form says any more goes."""
    said = {word for each in deployments("en") for word in (each.description, *words_of(each))}
    assert TEXTS["zh"].keys() == said
