"""API_CALL against a real server on loopback that misbehaves in every way."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from flowledger.domain.workflows.steps import ExecutionFacts
from flowledger.http.address_guard import AddressGuard
from flowledger.http.async_calls import AsyncCaller, CallOptions
from flowledger.nodes.api_call import ApiCallNode
from flowledger.workflow_ports import NodeAnswer, NodeCall

FACTS = ExecutionFacts(1, "e", 1, 1, "1.0", datetime(2026, 1, 1, tzinfo=UTC))
LOOPBACK = AddressGuard.of(["127.0.0.0/8"])


def call(config: Mapping[str, Any], deadline_s: float | None = 20.0) -> NodeCall:
    """Return the call of a step with this config."""
    return NodeCall("get", "get", "Get", "API_CALL", config, FACTS, "e:get:1", deadline_s=deadline_s)


@dataclass
class Api:
    """A server whose answers are given as bytes; it remembers the requests, heads in lower case."""

    answers: Mapping[str, bytes]
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    connections: int = 0
    address: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
                length = next(
                    (line[15:] for line in head.split("\r\n") if line.startswith("content-length:")), "0"
                )
                self.requests.append((head, await reader.readexactly(int(length))))
                path = head.split(" ")[1].partition("?")[0]
                await self.answer(path, writer)
                if path.startswith("/cut"):
                    break
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        """Write what stands under a path; ``/endless`` and ``/silent`` never end."""
        if path == "/silent":
            await asyncio.Event().wait()
        if path == "/endless":
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
                await writer.drain()
        writer.write(
            self.answers.get(path, ok(b"{}")).replace(b"PORT", self.address.rpartition(":")[2].encode())
        )
        await writer.drain()


def ok(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return an answer of JSON."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "content-type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(status: str, to: str) -> bytes:
    """Return a redirect; PORT in it is the server's."""
    return f"HTTP/1.1 {status}\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()


async def every_name_is_loopback(host: str, _: int) -> list[str]:
    """Resolve every name to this machine."""
    return ["::1", "127.0.0.1"] if host == "two.example" else ["127.0.0.1"]


def with_api(
    answers: Mapping[str, bytes],
    use: Callable[[Api, ApiCallNode], Awaitable[None]],
    caller: AsyncCaller | None = None,
) -> Api:
    """Run a coroutine beside a server with these answers; return the server."""
    api = Api(answers)
    node = ApiCallNode(caller or AsyncCaller(LOOPBACK))

    async def run() -> None:
        async with await asyncio.start_server(api.serve, "127.0.0.1", 0) as server:
            api.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            await use(api, node)
            await node.caller.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    asyncio.run(run())
    return api


def answer_to(
    path: str, answers: Mapping[str, bytes], caller: AsyncCaller | None = None, **config: Any
) -> tuple[NodeAnswer, Api]:
    """Return the answer of one call to a path, and the server."""
    result: list[NodeAnswer] = []

    async def use(api: Api, node: ApiCallNode) -> None:
        deadline_s = config.pop("deadline_s", 20.0)
        result.append(await node.run(call({"url": api.address + path, **config}, deadline_s)))

    api = with_api(answers, use, caller)
    return result[0], api


def test_a_call_and_its_answer() -> None:
    """Method, headers, query and body arrive; status, headers and body come back."""
    answers = {"/u": ok(b'{"data": {"id": 5}}', "x-a: 1", "x-a: 2", "set-cookie: s=1", status="201 Created")}
    answer, api = answer_to(
        "/u", answers, method="POST", query={"q": "x y"}, headers={"X-Key": "k"}, body={"n": 1}
    )
    head, body = api.requests[0]
    assert head.startswith("post /u?q=x+y http/1.1\r\n")
    assert "x-key: k\r\n" in head
    assert "idempotency-key: e:get:1\r\n" in head
    assert "content-type: application/json\r\n" in head
    assert body == b'{"n":1}'
    assert answer.output == {"data": {"id": 5}}
    assert answer.response is not None
    assert answer.response["status"] == 201
    assert answer.response["headers"] == {
        **{"content-length": "19", "content-type": "application/json", "x-a": "1, 2", "set-cookie": "s=1"}
    }
    assert answer.seconds is not None


def test_connections_are_pooled_and_cookies_are_not_kept() -> None:
    """Calls one after another share a connection and nothing else."""

    async def use(api: Api, node: ApiCallNode) -> None:
        for _ in range(3):
            await node.run(call({"url": f"{api.address}/c"}))

    api = with_api({"/c": ok(b"{}", "set-cookie: session=1; path=/")}, use)
    assert api.connections == 1
    assert not any("cookie" in head for head, _ in api.requests)


@pytest.mark.parametrize(
    ("path", "answer", "error_type", "message"),
    [
        ("/e", ok(b"sorry", "retry-after: 3", status="503 Busy"), "HTTPError", "HTTP 503: sorry"),
        ("/cut/short", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nabc", "ConnectionError", ""),
        ("/nonsense", b"SSH-2.0-OpenSSH\r\n\r\n", "ConnectionError", ""),
        (
            "/cut/chunks",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            "ConnectionError",
            "",
        ),
        ("/gzip", ok(b"no gzip", "content-encoding: gzip"), "ConnectionError", ""),
        ("/json", ok(b'{"a": '), "InvalidJSON", "not the JSON"),
        ("/big", ok(b"x" * 60_000), "ResponseTooLarge", "larger than 50,000 bytes"),
        (
            "/bomb",
            ok(gzip.compress(b"0" * 5_000_000), "content-encoding: gzip"),
            "ResponseTooLarge",
            "larger than",
        ),
        ("/endless", b"", "ResponseTooLarge", "larger than 50,000 bytes"),
        ("/loop", redirect("302 Found", "/loop"), "ConnectionError", "more than 5 redirects"),
        ("/file", redirect("302 Found", "file:///etc/passwd"), "ValidationError", "no http or https address"),
    ],
)
def test_servers_that_misbehave(path: str, answer: bytes, error_type: str, message: str) -> None:
    """Each kind of broken answer is an error of its kind, and none is read without end."""
    caller = AsyncCaller(LOOPBACK, CallOptions(max_bytes=50_000))
    result, _ = answer_to(path, {path: answer}, caller, timeout=5)
    assert (result.error_type, message in (result.error or "")) == (error_type, True), result


@pytest.mark.parametrize(("timeout", "deadline_s"), [(0.2, 20.0), (20, 0.2)])
def test_one_deadline_counts_for_all(timeout: float, deadline_s: float) -> None:
    """A server that never answers costs the shorter of the config's timeout and the step's."""
    result, _ = answer_to("/silent", {}, timeout=timeout, deadline_s=deadline_s)
    assert (result.error, result.error_type) == ("no complete answer within 0.2 s", "Timeout")


def test_a_cancelled_call_ends_at_once() -> None:
    """Nobody waits for a call that is not wanted any more, and its connection is not used again."""

    async def use(api: Api, node: ApiCallNode) -> None:
        task = asyncio.create_task(node.run(call({"url": f"{api.address}/silent"})))
        while not api.requests:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await node.run(call({"url": f"{api.address}/fine"}))).output == {}

    assert with_api({}, use).connections == 2


def test_many_calls_at_once_share_a_bounded_pool() -> None:
    """Sixty branches over eight connections all get their answer."""

    async def use(api: Api, node: ApiCallNode) -> None:
        calls = [node.run(call({"url": f"{api.address}/{number}"})) for number in range(60)]
        assert [answer.error for answer in await asyncio.gather(*calls)] == [None] * 60

    assert with_api({}, use, AsyncCaller(LOOPBACK, CallOptions(connections=8))).connections <= 8


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "localhost",
            "localhost.",
            "LOCALHOST",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
        ),
        *("2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "0.0.0.0", "169.254.169.254", "10.0.0.1"),
        *("[fe80::1]", "[64:ff9b::7f00:1]", "127.0.0.1.", "①②⑦.0.0.1"),
    ],
)
def test_private_hosts_are_refused_however_they_are_written(host: str) -> None:
    """What counts is the address that would be connected to; nothing is sent."""

    async def use(api: Api, node: ApiCallNode) -> None:
        port = api.address.rpartition(":")[2]
        answer = await node.run(call({"url": f"http://{host}:{port}/x"}))
        assert answer.error_type in ("ValidationError", "ConnectionError")
        if answer.error_type == "ConnectionError":
            assert "cannot be resolved" in str(answer.error)

    assert with_api({}, use, AsyncCaller()).connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/x",
        "file:///etc/passwd",
        "http://",
        "//a.example",
        "http://u:p@a.example/",
        "http://a\x00b/",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    """Other schemes and user names in an address are errors of the config."""

    async def use(_: Api, node: ApiCallNode) -> None:
        assert (await node.run(call({"url": url}))).error_type == "ValidationError"

    with_api({}, use)


def test_a_name_is_judged_by_where_it_leads_when_connecting() -> None:
    """A public name that resolves to this machine is refused, unless the settings name it."""

    async def use(api: Api, node: ApiCallNode) -> None:
        port = api.address.rpartition(":")[2]
        answer = await node.run(call({"url": f"http://rebound.example:{port}/"}))
        assert answer.error_type == "ValidationError"
        assert "rebound.example is at 127.0.0.1, which is not public" in str(answer.error)
        assert (await node.run(call({"url": f"http://named.example:{port}/"}))).error is None

    guard = AddressGuard.of(["named.example"])
    assert with_api({}, use, AsyncCaller(guard, resolve=every_name_is_loopback)).connections == 1


def test_an_unknown_host_is_a_connection_error() -> None:
    """A name without an address is no fault of the config: it may have one later."""

    async def no_name(host: str, _: int) -> list[str]:
        raise OSError(f"{host}?")

    result, _ = answer_to("/x", {}, AsyncCaller(LOOPBACK, resolve=no_name))
    assert result.error_type == "ConnectionError"
    assert "cannot be resolved" in str(result.error)


def test_redirects_are_checked_and_lose_what_may_be_a_key() -> None:
    """Another host gets no key, a private one nothing at all; the same host gets all."""
    headers = {"Authorization": "Bearer t", "X-Api-Key": "k", "Accept": "text/x", "Cookie": "a=1"}
    answers = {
        "/same": redirect("302 Found", "/end"),
        "/other": redirect("302 Found", "http://other.example:PORT/end"),
        "/private": redirect("301 Moved", "http://localhost:PORT/end"),
        "/post": redirect("303 See Other", "/end"),
        "/again": redirect("307 Temporary Redirect", "/end"),
        "/leak": redirect("308 Permanent Redirect", "http://other.example:PORT/end"),
    }
    guard = AddressGuard.of(["named.example", "other.example"])

    async def use(api: Api, node: ApiCallNode) -> None:
        async def to(path: str, method: str = "GET", body: object = None) -> tuple[NodeAnswer, str]:
            url = f"http://named.example:{api.address.rpartition(':')[2]}{path}"
            answer = await node.run(call({"url": url, "method": method, "headers": headers, "body": body}))
            return answer, api.requests[-1][0]

        _, head = await to("/same")
        assert "authorization: bearer t" in head
        assert "x-api-key: k" in head
        _, head = await to("/other")
        assert head.startswith("get /end")
        assert "accept: text/x" in head
        assert not any(word in head for word in ("authorization", "x-api-key", "cookie"))
        answer, head = await to("/private")
        assert (answer.error_type, head.split(" ")[1]) == ("ValidationError", "/private")
        _, head = await to("/post", "POST", {"a": 1})
        assert head.startswith("get /end")
        assert "content-type" not in head
        _, head = await to("/again", "PUT", {"a": 1})
        assert (head.split(" ")[:2], api.requests[-1][1]) == (["put", "/end"], b'{"a":1}')
        answer, head = await to("/leak", "POST", {"a": 1})
        assert "would send the body to another host" in str(answer.error)
        assert head.split(" ")[1] == "/leak"

    with_api(answers, use, AsyncCaller(guard, resolve=every_name_is_loopback))


def test_a_call_that_cannot_be_sent_is_a_validation_error() -> None:
    """Nothing is connected for a config that is no request."""
    result, api = answer_to("/x", {}, method="BREW")
    assert (result.error_type, api.connections) == ("ValidationError", 0)
