"""A machine with iptables and without nft: the rules of default routes, in both kinds of iptables that Debian has.

The control is wg-quick, on the same machine: the same file gives the same rules.
"""

import fcntl
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.tunnel.command import CommandError
from bench.tunnel.site import poll
from pywg.manage.tunnel import firewall
from tests.requirements import require_tool

from .machine import Machine
from .quick_files import FILES

PROGRAMS = ("iptables", "ip6tables", "iptables-save", "ip6tables-save", "iptables-restore", "ip6tables-restore")


@pytest.fixture(params=["nft", "legacy"])
def variant(request: pytest.FixtureRequest, here: Machine, monkeypatch: pytest.MonkeyPatch) -> str:
    """The programs of one kind, and no nft."""
    kind = str(request.param)
    folder = here.folder / f"iptables-{kind}"
    folder.mkdir(exist_ok=True)
    for place in ("/usr/bin", "/usr/sbin", str(here.folder / "bin")):
        for name in os.listdir(place):
            if name != "nft" and not (folder / name).is_symlink():
                (folder / name).symlink_to(os.path.join(place, name))
    for name in PROGRAMS:
        (folder / name).unlink(missing_ok=True)
        first, dash, rest = name.partition("-")
        (folder / name).symlink_to(require_tool(f"{first}-{kind}{dash}{rest}"))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("pywg.manage.tunnel.machine._SYSTEM_PATH", "")
    monkeypatch.setenv("XTABLES_LOCKFILE", str(here.folder / "lock"))  # the machine's is for all namespaces
    try:
        here.namespace.run("iptables-save")
        here.namespace.run("iptables", "-t", "raw", "-S")
    except CommandError as error:
        pytest.skip(f"this kernel lacks iptables-{kind}: {error}")
    return kind


def rules(here: Machine) -> list[str]:
    """Those of both families, in their order, without counters."""
    saved = here.namespace.run("sh", "-c", "iptables-save; ip6tables-save")
    return re.findall(r"^(?:\*|-A).*", saved.replace(_own(here), "OWN") if _own(here) else saved, re.M)


def _own(here: Machine) -> str:
    shown = here.namespace.run("sh", "-c", f"ip -o -6 address show dev {here.interface} scope link 2>/dev/null; true")
    found = re.search(r"(fe80::\S+)/64", shown)
    return found[1] if found else ""


def only_rules(lines: list[str]) -> list[str]:
    """Without the names of tables, some of which stay, empty."""
    return [line for line in lines if not line.startswith("*")]


@pytest.mark.usefixtures("variant")
def test_rules_are_those_of_wg_quick(here: Machine) -> None:
    assert firewall.tool() == "iptables"
    here.write(FILES["default routes"])
    here.quick("up")
    wanted = rules(here)
    assert sum("-j DROP" in line for line in wanted) >= 2
    here.quick("down")
    assert only_rules(rules(here)) == []
    here.up()
    assert rules(here) == wanted
    here.write(FILES["default routes"].replace("10.78.0.1/24", "10.78.0.9/24"))
    here.reload()
    moved = [line.replace("10.78.0.1/", "10.78.0.9/") for line in only_rules(wanted)]
    assert sorted(only_rules(rules(here))) == sorted(moved)
    here.down()
    assert only_rules(rules(here)) == []


@pytest.mark.parametrize("variant", ["legacy"], indirect=True)
@pytest.mark.usefixtures("variant", "quick_daemon")
def test_another_program_that_changes_rules_is_waited_for(here: Machine) -> None:
    """The older iptables knows one lock for all programs, and most versions fail at once where another has it."""
    here.write(FILES["default routes"])

    def waits() -> bool:
        waiting = (line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line)
        return done.done() or any(int(words[6].split(":")[2]) == os.fstat(lock.fileno()).st_ino for words in waiting)

    with ThreadPoolExecutor(1) as thread, (here.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = thread.submit(here.up)
        poll(waits, "iptables waits")
        fcntl.flock(lock, fcntl.LOCK_UN)
        done.result()
    assert sum("-j DROP" in line for line in rules(here)) >= 2
    here.down()
    assert only_rules(rules(here)) == []
