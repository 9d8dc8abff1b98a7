"""api.Tunnel with a real peer: what it sets up, changes, tells, and leaves, however it ends."""

import asyncio
import functools
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

import pywg as api
from bench.tunnel.site import UAPI_DIR, poll

from .python_world import LONG_S, World, prefix, served, world

KINDS = pytest.mark.parametrize("apart", [False, True], ids=["inside", "process"])
"""A thread of the program, or a process of its own."""


@pytest.fixture(scope="module")
def _world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as made:
        made.begin_peer()
        yield made


@pytest.fixture
def there(_world: World) -> Iterator[World]:
    """A world as it was made, and so as a test has to leave it."""
    before = _world.shown()
    yield _world
    assert _world.shown() == before
    _world.nothing_is_left()


@KINDS
def test_a_tunnel_from_a_file_is_up_in_the_body_and_gone_behind_it(there: World, apart: bool) -> None:
    async def program() -> None:
        tunnel = api.Tunnel(there.write(there.text()), daemon=apart)
        assert "closed" in repr(tunnel)
        async with tunnel:
            await there.until(there.answers, "the far end answers")
            seen = await tunnel.status()
            (peer,) = seen.status.peers
            assert api.verdict(seen, peer).state is api.State.UP
            assert peer.public_key.hex() in there.near.run(
                "sh", "-c", f"wg show {there.name} dump | cut -f1 | tail -1 | base64 -d | od -An -v -tx1 | tr -d ' \\n'"
            )
            counters = await tunnel.statistics()
            assert isinstance(counters["counter_rx_packets"], int)
            assert counters["counter_rx_packets"] > 0
            assert there.name in there.near.run("wg", "show", there.name)
            for text in (repr(tunnel), repr(seen)):
                assert not any(key in text for key in there.keys)
        with pytest.raises(api.TunnelClosedError, match="inside `async with`"):
            await tunnel.status()
        with pytest.raises(api.TunnelClosedError, match="make another"):
            await tunnel.__aenter__()

    there.play(program)


@KINDS
def test_peers_come_change_and_go_with_their_routes(there: World, apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WG_ENDPOINT_RESOLUTION_RETRIES", "0")
    other = "b" * 42 + "A="

    def routes() -> list[str]:
        lines = there.near.run("ip", "-4", "route", "show", "dev", there.name).splitlines()
        return [line.split()[0] for line in lines]

    async def program() -> None:
        async with served(there, daemon=apart) as tunnel:
            before = routes()
            async with tunnel.events() as events:
                await tunnel.set_peer(other, allowed_ips=["10.7.0.0/16", "10.6.1.0/24"], persistent_keepalive=25)
                assert [(await anext(events)).name for _ in range(2)] == ["peer_added", "configuration"]
            assert sorted(set(routes()) - set(before)) == ["10.6.1.0/24", "10.7.0.0/16"]
            await tunnel.set_peer(there.public[1], allowed_ips=["10.9.0.2/32", "10.9.0.3/32", "10.7.0.0/16"])
            found = {peer.public_key: peer for peer in (await tunnel.status()).status.peers}
            old, new = found[_bytes(there.public[1])], found[_bytes(other)]
            assert set(old.allowed_ips) == {prefix("10.9.0.2/32"), prefix("10.9.0.3/32"), prefix("10.7.0.0/16")}
            assert (new.allowed_ips, new.persistent_keepalive) == ([prefix("10.6.1.0/24")], 25)
            assert there.answers_one("10.9.0.3")
            handshake = old.last_handshake_ns
            await tunnel.remove_peer(other)
            await tunnel.remove_peer(other)
            assert "10.6.1.0/24" not in routes()
            (peer,) = (await tunnel.status()).status.peers
            assert peer.last_handshake_ns == handshake  # no session was touched
            with pytest.raises(api.ConfigError, match="has no address"):
                await tunnel.set_peer(other, endpoint="nowhere.invalid:7", allowed_ips=["10.5.0.0/16"])
            assert len((await tunnel.status()).status.peers) == 1
            assert "10.5.0.0/16" not in routes()

    there.play(program)


def test_what_another_program_sets_stays_when_a_peer_is_set(there: World) -> None:
    theirs, ours = "c" * 42 + "A=", "d" * 42 + "A="

    async def program() -> None:
        async with served(there, daemon=False) as tunnel:
            there.near.run("wg", "set", there.name, "peer", theirs, "allowed-ips", "10.4.0.0/16")
            await tunnel.set_peer(ours)
            keys = there.near.run("wg", "show", there.name, "peers").split()
            assert sorted(keys) == sorted([there.public[1], theirs, ours])
            config = api.WgQuickConfig(
                api.InterfaceSection(addresses=[(bytes([10, 9, 0, 1]), 24)]),
                [api.PeerSection(_bytes(there.public[1]), None, [prefix("10.9.0.2/32")], ("192.0.2.2", 7000))],
            )
            changed = await tunnel.apply(config)
            assert [line for line in changed if ours in line]
            assert there.near.run("wg", "show", there.name, "peers").split() == [there.public[1]]
            assert there.answers_one()

    there.play(program)


@KINDS
def test_preshared_keys_change_without_a_session_being_dropped(there: World, apart: bool) -> None:
    given = bytearray(range(32))
    psk = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    first = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
    asked = []

    async def ask(peer: str) -> api.Key | None:
        asked.append(peer)
        return given if len(asked) == 1 else None

    async def program() -> None:
        async with served(there, daemon=apart, peer=f"PresharedKey = {first}") as tunnel:
            (before,) = (await tunnel.status()).status.peers
            task = asyncio.create_task(tunnel.rotate_preshared_keys(ask, every=0.01))
            await there.until(lambda: len(asked) > 2, "it was asked for again")
            task.cancel()
            assert set(asked) == {there.public[1]}
            assert not any(given)
            assert there.near.run("wg", "show", there.name, "preshared-keys").split() == [there.public[1], psk]
            assert there.answers_one()
            (after,) = (await tunnel.status()).status.peers
            assert after.last_handshake_ns == before.last_handshake_ns  # the session of before carries it
            there.far_preshared_key(psk)
            await tunnel.set_peer(there.public[1], allowed_ips=["10.9.0.2/32"])  # takes back no key
            there.near.run("ip", "link", "set", there.name, "down")
            there.near.run("ip", "link", "set", there.name, "up")
            await there.until(there.answers, "a handshake with the new key")
            await tunnel.set_preshared_key(there.public[1], api.ZERO_KEY)
            assert there.near.run("wg", "show", there.name, "preshared-keys").split()[1] == "(none)"
            there.far_preshared_key("")

    there.far_preshared_key(first)
    try:
        there.play(program)
    finally:
        there.far_preshared_key("")


@KINDS
def test_a_preshared_key_that_a_configuration_has_no_more_goes(there: World, apart: bool) -> None:
    """One that the program has set since is no configuration's."""
    first, ours = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    key = there.public[1]

    def shown() -> str:
        return there.near.run("wg", "show", there.name, "preshared-keys").split()[1]

    async def program() -> None:
        with_one, without = there.text(peer=f"PresharedKey = {first}"), there.text()
        async with api.Tunnel(with_one, name=there.name, daemon=apart) as tunnel:
            assert shown() == first
            assert [line.split()[0] for line in await tunnel.apply(without)] == ["-"]
            assert shown() == "(none)"
            await tunnel.apply(with_one)
            await tunnel.set_peer(key, allowed_ips=["10.9.0.2/32", "10.9.0.3/32"])
            await tunnel.remove_peer("h" * 42 + "A=")
            assert shown() == first
            await tunnel.apply(without)
            assert shown() == "(none)"
            for set_key in (tunnel.set_preshared_key, functools.partial(_set_peer, tunnel)):
                await tunnel.apply(with_one)
                await set_key(key, ours)
                assert await tunnel.apply(without) == []
                assert shown() == ours

    there.play(program)


def test_a_name_that_nobody_answers_for_holds_up_no_other_call(there: World) -> None:
    """Questions are answered meanwhile, and of two tasks that wait, each is stopped alone."""
    other, last = "b" * 42 + "A=", "i" * 42 + "A="

    async def program() -> None:
        async with served(there, daemon=False) as tunnel:
            asking = asyncio.create_task(tunnel.set_peer(other, endpoint="nowhere.invalid.:7"))
            await there.until(lambda: bool(list(Path("/run/pywg").glob(f"{there.name}@*.lock"))), "it has begun")
            assert len((await tunnel.status()).status.peers) == 1
            async with tunnel.events():
                pass
            behind = asyncio.create_task(tunnel.set_peer(last))
            await asyncio.sleep(0)  # it is in the queue
            behind.cancel()
            with pytest.raises(asyncio.CancelledError):
                await behind
            assert not asking.done()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await tunnel.set_peer(last)
            assert [peer.public_key for peer in (await tunnel.status()).status.peers][1:] == [_bytes(last)]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(tunnel.set_peer(other, endpoint="nowhere.invalid.:7"), 0.2)
            assert len((await tunnel.status()).status.peers) == 2

    _without_names(there, program)


def test_an_error_in_the_body_is_the_callers_and_nothing_is_left(there: World) -> None:
    async def program() -> None:
        async with served(there, daemon=False, interface="PostDown = exit 7"):
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine") as caught:
        there.play(program)
    assert any("PostDown" in note for note in caught.value.__notes__)


def test_a_step_that_fails_is_one_line_and_nothing_is_left(there: World) -> None:
    async def program() -> None:
        async with api.Tunnel(there.text(interface="PostUp = exit 3"), name=there.name):
            raise AssertionError

    with pytest.raises(api.StepError, match=r"PostUp `exit 3`: it ended with status 3;.* nothing is left") as caught:
        there.play(program)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("when", ["in a hook", "asking for a name", "in the body"])
def test_a_task_that_is_cancelled_leaves_nothing(there: World, when: str) -> None:
    began = there.folder / "began"
    more = {
        "in a hook": {"interface": f"PostUp = touch {began}; exec sleep 600"},
        "asking for a name": {"interface": f"PreUp = touch {began}", "peer": "Endpoint = nowhere.invalid.:1"},
        "in the body": {},
    }[when]

    async def tunnelled() -> None:
        async with api.Tunnel(there.text(**more), name=there.name):
            began.touch()
            await asyncio.get_running_loop().create_future()

    async def program() -> None:
        task = asyncio.create_task(tunnelled())
        await there.until(began.exists, "it has begun")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        there.nothing_is_left()

    try:
        if when == "asking for a name":
            _without_names(there, program)
        else:
            there.play(program)
    finally:
        began.unlink(missing_ok=True)


async def _set_peer(tunnel: api.Tunnel, key: str, preshared_key: str) -> None:
    await tunnel.set_peer(key, preshared_key=preshared_key)


def _without_names(there: World, program: object) -> None:
    """Where no name server answers, which `up` waits for."""
    with pytest.MonkeyPatch.context() as patch:
        from pywg.manage.tunnel import resolve

        as_it_is = resolve._ask

        def ask(endpoint: tuple[str, int], flags: int = 0) -> tuple[bytes, int, int]:
            if flags:  # an address, which nobody is asked for
                return as_it_is(endpoint, flags)
            raise OSError(-3, "Temporary failure in name resolution")

        patch.setattr(resolve, "_ask", ask)
        there.play(program)  # type: ignore[arg-type]


def test_two_tunnels_in_one_process_end_apart(there: World) -> None:
    second = f"{there.name}b"
    key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="

    async def program() -> None:
        async with served(there, daemon=False) as one:
            text = f"[Interface]\nPrivateKey = {key}\nAddress = 10.33.0.1/32\n"
            async with api.Tunnel(text, name=second) as other:
                await other.set_peer("e" * 42 + "A=", allowed_ips=["10.33.1.0/24"])
                assert (await one.status()).interface != (await other.status()).interface
                assert len((await one.status()).status.peers) == 1
            assert second not in there.near.run("ip", "-o", "link")
            assert there.answers_one()
            await one.status()

    there.play(program)


@KINDS
def test_what_serves_it_dies_under_it(there: World, apart: bool) -> None:
    async def program() -> None:
        async with served(there, daemon=apart) as tunnel:
            ended = asyncio.create_task(tunnel.ended())
            async with tunnel.events() as events:
                if apart:
                    os.kill((await tunnel.status()).daemon.pid, signal.SIGKILL)
                else:
                    there.near.run("ip", "link", "del", there.name)
                names: list[str] = []
                with pytest.raises(api.TunnelGoneError, match="served no more"):
                    await _note(events, names)
                assert names[-1] == ("disconnected" if apart else "ending")
            await ended
            for call in (tunnel.status(), tunnel.statistics(), tunnel.set_peer("f" * 42 + "A=")):
                with pytest.raises(api.TunnelGoneError):
                    await call

    there.play(program)
    (UAPI_DIR / f"{there.name}.sock").unlink(missing_ok=True)  # what a daemon that was killed leaves to the next


def test_what_is_another_programs_by_now_stays(there: World) -> None:
    async def program() -> None:
        async with served(there, daemon=False) as tunnel:
            there.near.run("ip", "link", "del", there.name)
            await tunnel.ended()
            await there.until(lambda: not (UAPI_DIR / f"{there.name}.sock").exists(), "it has ended")
            there.near.run("ip", "link", "add", there.name, "type", "veth", "peer", "name", "other")

    there.play(program)
    there.near.run("ip", "link", "del", there.name)
    for left in Path("/run/pywg").glob(f"{there.name}*"):
        left.unlink()


def test_attached_to_pywg_it_changes_peers_and_leaves_all(there: World, pywg: str) -> None:
    path = there.write(there.text())
    there.near.run(pywg, "up", str(path))

    async def program() -> None:
        async with api.Tunnel.attach(there.name) as tunnel:
            await there.until(there.answers, "the far end answers")
            async with tunnel.events() as events:
                await tunnel.set_peer(there.public[1], endpoint="192.0.2.2:7000", allowed_ips=["10.9.0.0/24"])
                async for event in events:
                    if event.name == "configuration":
                        break
            (peer,) = (await tunnel.status()).status.peers
            assert peer.allowed_ips == [prefix("10.9.0.0/24")]
            with pytest.raises(api.ConfigError, match="another program's"):
                await tunnel.apply(there.text())
        assert there.answers_one()

    there.play(program)
    there.near.run(pywg, "down", str(path))

    async def without() -> None:
        async with api.Tunnel.attach(there.name):
            raise AssertionError

    with pytest.raises(api.DeviceError, match="no daemon answers"):
        there.play(without)


def test_attached_to_wireguard_go_it_does_what_that_can(there: World) -> None:
    """The control: what every user-space WireGuard answers is enough for state and peers."""

    async def program() -> None:
        async with api.Tunnel.attach(there.peer) as tunnel:
            assert (await tunnel.status()).status.listen_port == 7000
            await tunnel.set_peer("g" * 42 + "A=", allowed_ips=["172.16.0.0/16"])
            assert "g" * 42 in there.far.run("wg", "show", there.peer, "peers")
            await tunnel.remove_peer("g" * 42 + "A=")
            with pytest.raises(api.DeviceError, match="tells no events"):
                async with tunnel.events():
                    pass
            with pytest.raises(api.DeviceError, match="not pywg"):
                await tunnel.statistics()

    there.play(program)


PROGRAM = """
import asyncio, os, sys
import pywg

async def main():
    async with pywg.Tunnel(sys.argv[1]) as tunnel:
        {body}

asyncio.run(main())
"""
FORKING = PROGRAM.format(
    body="""
        child = os.fork()
        if not child:
            for what in (tunnel.status, tunnel.events):
                try:
                    await what() if what == tunnel.status else what()
                except pywg.TunnelClosedError as error:
                    print("child:", error, flush=True)
            os.read(0, 1)
            return
        os.sched_yield()
    print("parent left", flush=True)
    os.waitpid(child, 0)
"""
)


def test_a_child_of_fork_neither_uses_it_nor_keeps_it(there: World) -> None:
    """The child leaves the body too, and ends as any program does."""
    program = there.start(FORKING, str(there.write(there.text(interface="ListenPort = 7123"))))
    assert program.stdout is not None
    said = [program.stdout.readline() for _ in range(3)]
    assert sorted(line.partition(":")[0].strip() for line in said) == ["child", "child", "parent left"]
    assert sum("a child of fork() can't use it" in line for line in said) == 2
    poll(lambda: there.near.run("ip", "-o", "link", "show", "type", "tun") == "", "the interface is gone")
    assert ":7123" not in there.near.run("ss", "-lnu")
    assert len(there.near.pids()) == 2  # both are there still
    program.communicate("x", timeout=LONG_S)
    assert program.returncode == 0


def test_down_takes_it_from_a_program_and_leaves_the_program(there: World, pywg: str) -> None:
    """Also where the interface's name is on the program's command line, as it is on a daemon's."""
    body = 'print("up", flush=True); await tunnel.ended(); print("told", flush=True); os.read(0, 1)'
    program = there.start(PROGRAM.format(body=body), str(there.write(there.text())), there.name)
    assert program.stdout is not None
    assert program.stdout.readline() == "up\n"
    assert f"PID {program.pid}" in there.near.run(pywg, "status", there.name)
    there.near.run(pywg, "down", there.name)
    assert program.stdout.readline() == "told\n"
    assert program.poll() is None
    program.communicate("x", timeout=LONG_S)
    assert program.returncode == 0


def test_a_program_that_was_killed_leaves_what_the_next_one_undoes(there: World) -> None:
    text = there.text(peer="AllowedIPs = 0.0.0.0/0")
    program = there.start(PROGRAM.format(body='print("up", flush=True); os.read(0, 1)'), str(there.write(text)))
    assert program.stdout is not None
    assert program.stdout.readline() == "up\n"
    program.kill()
    program.communicate()
    assert "suppress_prefixlength" in there.near.run("ip", "rule")

    async def again() -> None:
        async with api.Tunnel(there.write(there.text())):
            assert "suppress_prefixlength" not in there.near.run("ip", "rule")

    there.play(again)


OF_THE_PROCESS = """
import resource, signal, threading
def facts():
    own = {line.split(":")[0]: line for line in open("/proc/self/task/%d/status" % os.getpid())}
    umask = os.umask(0o22); os.umask(umask)
    kinds = [resource.getrlimit(kind) for kind in range(16)]
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    named = [own[name] for name in ("NoNewPrivs", "Seccomp", "CapEff", "CapPrm", "SigBlk", "SigIgn", "Uid", "Gid")]
    caught = int(own["SigCgt"].split()[1], 16) & ~(3 << 31)  # libc's own two
    return [*named, caught, umask, kinds, handlers, os.getcwd(), os.path.realpath("/proc/self/root")]
"""


def test_what_is_the_process_stays_the_programs(there: World) -> None:
    """Its signals, limits, privileges and umask; the threads that parse strangers' bytes are confined all the same."""
    body = """
        assert facts() == before, (before, facts())
        threads = {}
        for task in os.listdir("/proc/self/task"):
            status = dict(line.split(":\\t") for line in open(f"/proc/self/task/{task}/status") if ":\\t" in line)
            threads[status["Name"].strip()] = status["Seccomp"].strip()
        print(threads["pywg-tx"], threads["pywg-rx"], threads["python"] if "python" in threads else "0")
        print((await tunnel.statistics())["sandbox_refused"])
    assert facts() == before"""
    text = PROGRAM.format(body=body).replace(
        "async def main():", OF_THE_PROCESS + "\nasync def main():\n    before = facts()"
    )
    program = there.start(text, str(there.write(there.text())))
    said, _ = program.communicate(timeout=LONG_S)
    assert program.returncode == 0
    assert said == "2 2 0\n-1\n"


def test_a_loop_that_is_busy_holds_up_no_handshake(there: World) -> None:
    """uvloop's, at that."""

    async def program() -> None:
        async with api.Tunnel(there.text(), name=there.name) as tunnel:
            poll(there.answers, "the far end answers", LONG_S)  # and meanwhile the loop does nothing
            async with tunnel.events() as events:
                await tunnel.set_peer(there.public[1], persistent_keepalive=7)
                assert (await anext(events)).name == "configuration"

    there.play(program, uvloop.new_event_loop)


def test_one_name_in_two_network_namespaces(there: World) -> None:
    """The second one's socket is where `wg` does not look, as that of `pywg up` is."""
    key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="

    async def second() -> str:
        async with api.Tunnel(f"[Interface]\nPrivateKey = {key}\nAddress = 10.33.0.1/32\n", name=there.name) as tunnel:
            return " ".join((await tunnel.status()).addresses)

    def elsewhere() -> str:
        with there.far.entered():
            return asyncio.run(second())

    async def program() -> None:
        async with served(there, daemon=False) as tunnel:
            assert "10.33.0.1/32" in await asyncio.to_thread(elsewhere)
            assert "10.9.0.1/24" in (await tunnel.status()).addresses
            assert there.answers_one()

    there.play(program)


def test_the_log_is_the_programs(there: World, caplog: pytest.LogCaptureFixture) -> None:
    async def program() -> None:
        async with api.Tunnel(there.text(), name=there.name):
            pass

    with caplog.at_level(logging.INFO, "pywg"):
        there.play(program)
    mine = [record.getMessage() for record in caplog.records if record.name == f"pywg.{there.name}"]
    assert f"({there.name}) ready" in mine


async def _note(events: api.Events, names: list[str]) -> None:
    async for event in events:
        names.append(event.name)


def _bytes(key: str) -> bytes:
    import base64

    return base64.b64decode(key)
