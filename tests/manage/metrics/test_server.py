"""The server: what it answers, and that clients which are slow, many or hostile cost the others nothing."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pywg.errors import ConfigError, DeviceError
from pywg.manage.metrics import server
from pywg.manage.metrics.process import address, listen
from pywg.manage.metrics.server import MOST_CLIENTS, MOST_REQUEST, Server, Shared

Ask = Callable[[bytes], Awaitable[bytes]]


async def page(accept: str) -> tuple[bytes, str]:
    if accept == "break":
        raise RuntimeError("odd")
    return f"accepts {accept}\n".encode(), "text/x"


def serving(test: Callable[[int, Ask], Awaitable[None]], make: Any = page) -> list[str]:
    """Runs a test with the port of a server, and what asks it; returns what the server has told."""
    told: list[str] = []

    async def run() -> None:
        (sock,) = listen("127.0.0.1", 0)
        port = sock.getsockname()[1]
        serving = await asyncio.start_server(Server(make, told.append).serve, sock=sock, limit=MOST_REQUEST)

        async def ask(request: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                return await reader.read()
            finally:
                writer.close()

        async with asyncio.timeout(30):
            await test(port, ask)
        serving.close()

    asyncio.run(run())
    return told


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        ("GET /metrics HTTP/1.1", "200", b"accepts a/b\n"),
        ("GET /metrics?name[]=x HTTP/1.0", "200", b"accepts a/b\n"),
        ("HEAD /metrics HTTP/1.1", "200", b""),
        ("GET / HTTP/1.1", "200", b"pywg: the metrics are at /metrics\n"),
        ("GET /../../etc/passwd HTTP/1.1", "404", b"pywg: the metrics are at /metrics\n"),
        ("POST /metrics HTTP/1.1", "405", b"GET alone\n"),
        ("GET /metrics", "400", b"not a request\n"),
        ("GET  /metrics HTTP/1.1", "400", b"not a request\n"),
        ("\x16\x03\x01", "400", b"not a request\n"),
        ("", "400", b"not a request\n"),
    ],
)
def test_replies(request_line: str, status: str, body: bytes) -> None:
    async def test(port: int, ask: Ask) -> None:
        said = await ask(f"{request_line}\r\nHost: x\r\nACCEPT:  a/b \r\n\r\n".encode("latin-1"))
        head, _, content = said.partition(b"\r\n\r\n")
        assert head.split(b" ")[1].decode() == status
        assert content == body
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        assert length == len(body) or request_line.startswith("HEAD")

    assert serving(test) == []


def test_a_request_without_end_is_refused() -> None:
    async def test(_: int, ask: Ask) -> None:
        for request in (b"GET /" + b"x" * 2 * MOST_REQUEST, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * MOST_REQUEST):
            with contextlib.suppress(ConnectionError):  # it has not read all of it
                assert (await ask(request)).startswith(b"HTTP/1.1 400 ")
        assert b"accepts" in await ask(b"GET /metrics HTTP/1.1\r\n\r\n")

    assert serving(test) == []


def test_an_error_ends_one_request() -> None:
    async def test(_: int, ask: Ask) -> None:
        with contextlib.suppress(ConnectionError):
            assert await ask(b"GET /metrics HTTP/1.1\r\nAccept: break\r\n\r\n") == b""
        assert b"accepts" in await ask(b"GET /metrics HTTP/1.1\r\n\r\n")

    assert serving(test) == ["a request failed: RuntimeError: odd"]


def test_many_idle_clients_are_turned_away() -> None:
    async def test(port: int, ask: Ask) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST_CLIENTS)]
        with contextlib.suppress(ConnectionError):
            assert await ask(b"GET /metrics HTTP/1.1\r\n\r\n") == b""
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        while b"accepts" not in await asked(ask):
            await asyncio.sleep(0)  # the server has not seen all of them go

    assert serving(test) == []


async def asked(ask: Ask) -> bytes:
    """The answer; none of a server that hangs up."""
    with contextlib.suppress(ConnectionError):
        return await ask(b"GET /metrics HTTP/1.1\r\n\r\n")
    return b""


def test_idle_clients_are_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_S", 0.1)

    async def test(port: int, ask: Ask) -> None:
        for reader, writer in [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()

    assert serving(test) == []


def test_all_that_ask_together_share_one_answer() -> None:
    async def run() -> None:
        now, made = [0.0], []
        goes_on = asyncio.Event()

        async def make() -> int:
            await goes_on.wait()
            made.append(now[0])
            return len(made)

        shared = Shared(make, now=lambda: now[0])
        waiting = [asyncio.ensure_future(shared.get()) for _ in range(50)]
        await asyncio.sleep(0)
        goes_on.set()
        assert await asyncio.gather(*waiting) == [1] * 50
        now[0] = server.FRESH_S
        assert await shared.get() == 1
        now[0] += 0.1
        assert await shared.get() == 2

    asyncio.run(run())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("[::1]:2", ("::1", 2)),
        ("::1", ("::1", 9586)),
        ("[::1]", ("::1", 9586)),
        ("host", ("host", 9586)),
        (":3", ("", 3)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
    ],
)
def test_addresses(text: str, found: tuple[str, int]) -> None:
    assert address(text) == found


@pytest.mark.parametrize("text", ["host:", "host:x", "host:65536", "[::1]:-1", ":"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="is no address to listen on"):
        address(text)


def test_an_address_that_can_not_be_had_is_one_line() -> None:
    (taken,) = listen("127.0.0.1", 0)
    for host, port in (("127.0.0.1", taken.getsockname()[1]), ("192.0.2.77", 1), ("no such host", 1)):
        with pytest.raises(DeviceError, match=f"can't listen on {host}, port {port}: ") as error:
            listen(host, port)
        assert "\n" not in str(error.value)
    taken.close()
