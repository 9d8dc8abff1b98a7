"""Labs for the tests. `pair` is (near, far), near being the first initiator; `daemon` is each daemon once.

Variables in the environment of pytest are the daemons' too: PYWG_USER=nobody PYWG_DROP_NET_ADMIN=1, for example.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench.tunnel.implementations import find
from bench.tunnel.lab import Lab
from pywg.manage.tunnel import daemon as daemons
from tests.requirements import require_root, require_tool

from .machine import Machine, machine
from .with_shards import MAY_NEED_ONE_SHARD, NEEDS_ONE_SHARD
from .without_net_admin import NEEDS_NET_ADMIN
from .without_sandbox import NEEDS_SANDBOX, SANDBOXED

TOOLS = ("ip", "wg", "ping", "ethtool", "setpriv", "unshare")
OpenLab = Callable[..., Lab]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needs = NEEDS_NET_ADMIN if os.environ.get("PYWG_DROP_NET_ADMIN") == "1" else {}
    needs = needs | ({} if SANDBOXED else NEEDS_SANDBOX)
    sharded = os.environ.get("PYWG_SHARDS", "1") != "1"
    needs = needs | (NEEDS_ONE_SHARD if sharded else {})
    may_need = MAY_NEED_ONE_SHARD if sharded else {}
    for item in items:
        if "tests/netns" in item.path.as_posix():
            item.add_marker(pytest.mark.netns)
            if why := needs.get(item.name) or needs.get(getattr(item, "originalname", "")):
                item.add_marker(pytest.mark.xfail(reason=why, strict=True))
            if why := may_need.get(item.name) or may_need.get(getattr(item, "originalname", "")):
                item.add_marker(pytest.mark.xfail(reason=why, strict=False))
            if _is_control(item):
                item.add_marker(pytest.mark.flaky(reruns=1))


def _is_control(item: pytest.Item) -> bool:
    """Whether the test has none of our daemons: a race in another's is tried again, and listed as such; ours is not."""
    parameters = getattr(item, "callspec", None)
    values = parameters.params if parameters is not None else {}
    daemons = [*values.get("pair", ()), *(values[name] for name in ("subject", "daemon") if name in values)]
    return bool(daemons) and all(name.startswith("wireguard-go") for name in daemons)


@pytest.fixture(scope="session", autouse=True)
def _requirements(pytestconfig: pytest.Config) -> None:
    require_root()
    for tool in TOOLS:
        require_tool(tool)
    if "wireguard-go" in pytestconfig.getoption("pairs"):
        require_tool("wireguard-go")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    pairs = [tuple(pair.split(":")) for pair in metafunc.config.getoption("pairs").split(",")]
    if "pair" in metafunc.fixturenames:
        metafunc.parametrize("pair", pairs, ids=["+".join(pair) for pair in pairs], scope="module")
    if "daemon" in metafunc.fixturenames:
        metafunc.parametrize("daemon", sorted({name for pair in pairs for name in pair}), scope="module")


@pytest.fixture(scope="module")
def lab(pair: tuple[str, str]) -> Iterator[Lab]:
    """One established tunnel for all tests of a module, which therefore leave it as they found it."""
    with Lab(*pair, psk=True) as lab:
        lab.establish()
        yield lab
        nothing_refused(lab)


def nothing_refused(lab: Lab) -> None:
    """What was tried, and whatever else a daemon did: it needed no system call that its filters don't allow."""
    for site in lab.sites:
        if not site.alive() or site.implementation is None or not site.implementation.has_stats:
            continue
        with contextlib.suppress(OSError):  # its socket was removed, or it was stopped
            stats = site.uapi("stats=1", within_s=2)
            assert "\nsandbox_refused=0\n" in stats, [*re.findall("sandbox_refused.*", stats), site.log_tail()]


@pytest.fixture
def open_lab() -> Iterator[OpenLab]:
    """Makes labs of a test's own, which it may damage as it likes."""
    with contextlib.ExitStack() as labs:
        made = []

        def enter(*ends: Any, **options: Any) -> Lab:
            made.append(labs.enter_context(Lab(*ends, **options)))
            return made[-1]

        yield enter
        for lab in made:
            nothing_refused(lab)


@pytest.fixture(scope="session")
def pywg(pytestconfig: pytest.Config) -> str:
    """The program of the pywg among the chosen pairs."""
    daemons = [find(name) for pair in pytestconfig.getoption("pairs").split(",") for name in pair.split(":")]
    programs = [daemon.command[0] for daemon in daemons if daemon.has_stats]
    if not programs:
        pytest.skip("pywg is not among the --pairs")
    return programs[0]


@pytest.fixture(scope="module")
def _machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    for tool in ("wg-quick", "nft", "wireguard-go"):
        require_tool(tool)
    with pytest.MonkeyPatch.context() as monkeypatch:
        name = f"pywg-{os.getpid()}-{secrets.token_hex(3)}a"
        with machine(name, tmp_path_factory.mktemp("machine"), monkeypatch) as made:
            yield made


@pytest.fixture
def here(_machine: Machine) -> Iterator[Machine]:
    """A namespace for tunnels of files, one for all tests of a module, each of which finds it as it was made."""
    yield _machine
    _machine.clear()


@pytest.fixture
def quick_daemon(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon is wireguard-go, which starts in no time: for tests of what stands around it."""
    script = here.folder / "bin" / "daemon"
    script.write_text(f'#!/bin/sh\nexec {require_tool("wireguard-go")} "$2"\n')
    script.chmod(0o755)
    monkeypatch.setattr(daemons, "program_of_pywg", lambda: [str(script)])
