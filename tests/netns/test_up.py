"""`pywg up`, `down` and `reload` with the files that people have, beside wg-quick: the same addresses, routes, rules,
filters, name servers and peers; and nothing left afterwards."""

import os
import secrets
from collections.abc import Iterator

import pytest

from pywg.manage.tunnel import daemon
from tests.requirements import require_tool

from .machine import Machine, machine
from .quick_files import FILES

SHOWN: dict[str, str] = {}
"""What each file was shown to give: by `pywg up`."""
QUICK = """#!/bin/sh
exec {0} "$2"
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    for tool in ("wg-quick", "nft", "wireguard-go"):
        require_tool(tool)
    with pytest.MonkeyPatch.context() as monkeypatch:
        name = f"pywg-{os.getpid()}-{secrets.token_hex(3)}"
        with machine(name, tmp_path_factory.mktemp("up"), monkeypatch) as made:
            yield made


@pytest.fixture
def quickly(here: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """wireguard-go is the daemon, which starts in no time: what is looked at is what stands around it."""
    script = here.folder / "bin" / "daemon"
    script.write_text(QUICK.format(require_tool("wireguard-go")))
    script.chmod(0o755)
    monkeypatch.setattr(daemon, "_program", lambda: [str(script)])


@pytest.fixture(autouse=True)
def _clear(here: Machine) -> Iterator[None]:
    yield
    here.clear()


def shown(here: Machine, name: str) -> str:
    """What `pywg up` gives for a file."""
    if name not in SHOWN:
        here.write(FILES[name])
        here.up()
        SHOWN[name] = here.shown()
        here.down()
    return SHOWN[name]


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_what_it_gives_with_wg_quick(here: Machine, name: str) -> None:
    here.write(FILES[name])
    before = here.shown()
    here.quick("up", "wireguard-go")
    theirs, their_log = here.shown(), here.logged()
    here.quick("down", "wireguard-go")
    their_end = here.logged()
    here.namespace.run("sysctl", "-q", "net.ipv4.conf.all.src_valid_mark=0")  # wg-quick leaves it on
    here.up()
    SHOWN[name] = here.shown()
    assert SHOWN[name].splitlines() == theirs.splitlines()
    assert here.logged() == their_log
    here.down()
    assert here.shown() == before
    assert here.logged() == their_end
    here.nothing_runs()
