"""API_CALL without a network: the request of a config, and the answer of a reply."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from flowledger.http.async_calls import CallReply
from flowledger.nodes.api_call import InvalidCallError, answer_of, complete, request_of
from flowledger.workflow_ports import StoredApi

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
URL = "https://api.example.com/u"


def reply(status: int, body: bytes, kind: str = "application/json", **headers: str) -> CallReply:
    """Return a reply with these headers."""
    return CallReply(status, {"content-type": kind, **headers}, body, "utf-8")


@pytest.mark.parametrize(
    ("config", "url", "body"),
    [
        ({"url": URL}, URL, None),
        ({"url": URL, "query": {"a": 1, "b": [True, "x y"], "c": None}}, f"{URL}?a=1&b=true&b=x+y", None),
        ({"url": f"{URL}?z=1#part", "query": {"a": "ü"}}, f"{URL}?z=1&a=%C3%BC#part", None),
        ({"url": URL, "parameters": {"id": 5}}, f"{URL}?id=5", None),
        ({"url": f"{URL}/{{id}}", "parameters": {"id": "../5?", "q": 1}}, f"{URL}/..%2F5%3F?q=1", None),
        ({"url": URL, "method": "post", "parameters": {"id": 5}}, URL, b'{"id":5}'),
        ({"url": URL, "method": "POST", "body": [1, None]}, URL, b"[1,null]"),
        ({"url": URL, "method": "POST", "body": "text \ud800"}, URL, "text \ufffd".encode()),
        ({"url": URL, "method": "POST", "body": {"n": float("nan")}}, URL, b'{"n":null}'),
        (
            {"url": URL, "method": "PUT", "body": {"a": 1, "b": "x y"}}
            | {"headers": {"Content-Type": "application/x-www-form-urlencoded"}},
            URL,
            b"a=1&b=x+y",
        ),
    ],
)
def test_address_and_body(config: dict[str, Any], url: str, body: bytes | None) -> None:
    """Parameters fill the address, then the query of a GET or the body of others."""
    request = request_of(config, "e:k:1")
    assert (request.url, request.body) == (url, body)


def test_idempotency_key_of_all_but_get() -> None:
    """The key is sent with everything that may change something, unless the config has one."""
    assert "idempotency-key" not in request_of({"url": URL}, "e:loop/1/a:1").headers
    assert (
        request_of({"url": URL, "method": "POST"}, "e:loop/1/a:1").headers["idempotency-key"]
        == "e:loop/1/a:1"
    )
    assert (
        request_of({"url": URL, "method": "DELETE"}, "e:取:1").headers["idempotency-key"] == "e:%E5%8F%96:1"
    )
    own = {"url": URL, "method": "POST", "headers": {"IDEMPOTENCY-Key": "mine"}}
    assert request_of(own, "e:k:1").headers["idempotency-key"] == "mine"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "url must be a text"),
        ({"url": 5}, "url must be a text"),
        ({"url": URL, "method": "BREW"}, "method must be one of GET"),
        ({"url": URL, "headers": []}, "headers must be an object"),
        ({"url": URL, "headers": {"X-Key": "secret\r\nHost: b"}}, "the header X-Key holds a line break"),
        ({"url": URL, "headers": {"X-Key": "密"}}, "the header X-Key holds"),
        ({"url": URL, "headers": {"a b": "x"}}, "no name of a header"),
        ({"url": URL, "query": "a=1"}, "query must be an object"),
        ({"url": URL, "timeout": 0}, "timeout must be"),
        ({"url": URL, "timeout": "5"}, "timeout must be"),
        ({"url": URL, "timeout": True}, "timeout must be"),
    ],
)
def test_what_cannot_be_sent(config: dict[str, Any], message: str) -> None:
    """A config that is no request is an error that shows no value of a header."""
    with pytest.raises(InvalidCallError, match=message) as caught:
        request_of(config, "e:k:1")
    assert "secret" not in str(caught.value)


def test_registry_entries_are_completed_by_the_config() -> None:
    """The node's own fields come before those of the entry; headers and parameters are merged."""
    fields = {
        **{"base_url": "https://api.example.com/", "path": "/u/{id}", "method": "PATCH", "timeout": 9},
        **{
            "headers": {"A": "1", "B": "2"},
            "parameters": {"id": 1},
            "auth": {"type": "bearer", "token": "t"},
        },
    }
    entry = StoredApi(3, fields, NOW, NOW)
    config = complete({"api_id": 3, "parameters": {"x": 2}, "headers": {"B": "3"}}, {3: entry}.get)
    assert config == {
        **{"method": "PATCH", "url": "https://api.example.com/u/{id}", "timeout": 9},
        **{"headers": {"Authorization": "Bearer t", "A": "1", "B": "3"}, "parameters": {"id": 1, "x": 2}},
    }
    assert complete({"api_id": 3, "timeout": 2}, {3: entry}.get)["timeout"] == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (None, "there is no API 3"),
        ({"enabled": False}, "disabled"),
        ({"auth": {"type": "magic"}}, "auth type 'magic'"),
    ],
)
def test_registry_entries_that_cannot_be_called(fields: dict[str, Any] | None, message: str) -> None:
    """A missing or disabled entry is an error of the config."""
    apis = {} if fields is None else {3: StoredApi(3, fields, NOW, NOW)}
    with pytest.raises(InvalidCallError, match=message):
        complete({"api_id": 3}, apis.get)


@pytest.mark.parametrize(
    ("body", "kind", "value"),
    [
        (b'{"a": [1, null]}', "application/json", {"a": [1, None]}),
        (b'{"a": 1}', "application/problem+json; charset=utf-8", {"a": 1}),
        (b'{"a": 1}', "", {"a": 1}),
        (b'{"a": 1}', "text/plain", '{"a": 1}'),
        (b"plain", "", "plain"),
        (b"", "application/json", None),
        (b'{"a": NaN, "b": "\\ud800"}', "application/json", {"a": None, "b": "\ufffd"}),
        (b"\xff\xfe", "text/plain", "\ufffd\ufffd"),
    ],
)
def test_bodies(body: bytes, kind: str, value: object) -> None:
    """A body is JSON where it says so, or says nothing and is; else it is text."""
    answer = answer_of(reply(200, body, kind), 0.5, NOW)
    assert (answer.output, answer.error) == (value, None)
    assert answer.response == {"status": 200, "headers": {"content-type": kind}, "body": value}


def test_deep_json_is_bounded() -> None:
    """Nesting without end becomes a note instead of an error of every later writer."""
    answer = answer_of(reply(200, b"[" * 900 + b"]" * 900), 0.5, NOW)
    assert len(json.dumps(answer.output)) < 1_000


def test_json_that_is_none_fails_the_step() -> None:
    """A success whose JSON cannot be read is no success."""
    answer = answer_of(reply(200, b"<html>"), 0.5, NOW)
    assert answer.error_type == "InvalidJSON"
    assert answer.error is not None
    assert answer.error.startswith("HTTP 200: the body is not the JSON that it claims to be")


def test_refused_calls() -> None:
    """From 400 on the step fails, with 200 characters of the body and what Retry-After asks for."""
    answer = answer_of(reply(503, b"x" * 900, "text/html", **{"retry-after": "7"}), 0.5, NOW)
    assert (answer.error, answer.error_type) == ("HTTP 503: " + "x" * 200, "HTTPError")
    assert (answer.http_status, answer.retry_after_s) == (503, 7)
    dated = reply(429, b"<no json>", **{"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"})
    assert answer_of(dated, 0.5, NOW).retry_after_s == 30
    assert answer_of(reply(400, b"{}"), 0.5, NOW).error == "HTTP 400: {}"
