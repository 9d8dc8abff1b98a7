"""`pywg up`, `down` and `reload` with the files that people have, beside wg-quick: the same addresses, routes, rules,
filters, name servers and peers; and nothing left afterwards."""

import random
import re

import pytest

from .machine import Machine
from .quick_files import FILES

VALID_MARK = "net.ipv4.conf.all.src_valid_mark"


@pytest.fixture(scope="module")
def alone() -> dict[str, str]:
    """What each file gives by itself, filled by the first test."""
    return {}


@pytest.mark.usefixtures("quick_daemon")
@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_what_it_gives_with_wg_quick(here: Machine, alone: dict[str, str], name: str) -> None:
    here.write(FILES[name])
    before = here.shown()
    here.quick("up")
    theirs, their_log = here.shown(), here.logged()
    here.quick("down")
    their_end = here.logged()
    here.namespace.run("sysctl", "-q", f"{VALID_MARK}=0")  # wg-quick leaves it on
    here.up()
    alone[name] = here.shown()
    assert alone[name].splitlines() == theirs.splitlines()
    assert here.logged() == their_log
    here.down()
    assert here.shown() == before
    assert here.logged() == their_end
    here.nothing_runs()


@pytest.mark.parametrize("name", ["default routes and others", "dns", "hooks"])
def test_each_takes_down_what_the_other_has_set_up(here: Machine, name: str) -> None:
    here.write(FILES[name])
    before = here.shown()
    here.quick("up")
    here.down()
    here.namespace.run("sysctl", "-q", f"{VALID_MARK}=0")
    assert here.shown() == before
    here.up()
    here.quick("down")
    here.up()  # what is remembered of the first time is nothing to stumble over
    here.down()
    here.namespace.run("sysctl", "-q", f"{VALID_MARK}=0")
    assert here.shown() == before
    here.nothing_runs()
    here.logged()


def _settled(shown: str, like: str = "") -> list[str]:
    """Reload keeps an MTU that the file doesn't give, and endpoints: for those of `like`, a peer needs none."""
    lines = re.sub(r"mtu \d+", "mtu N", shown).splitlines()
    without = {line.removesuffix("\t(none)") for line in like.splitlines() if re.match(r"endpoints .*\(none\)", line)}
    found = (re.sub(r"\t\S+:\d+$", "\t(none)", line) if line.partition("\t")[0] in without else line for line in lines)
    return sorted(found)


def test_a_chain_of_reloads_gives_what_each_file_gives_alone(here: Machine, alone: dict[str, str]) -> None:
    """In an order of chance, of those without hooks, which don't run, and without an MTU."""
    names = [name for name in alone if not re.search(r"^(MTU|mtu|P\w+(Up|Down)) ?=", FILES[name], re.M)]
    random.Random(7).shuffle(names)
    before = here.shown()
    here.write(FILES[names[0]])
    here.up()
    for name in names[1:]:
        here.write(FILES[name])
        here.reload()
        assert _settled(here.shown(), alone[name]) == _settled(alone[name]), name
        assert here.reload() == [f"{here.interface} is what {here.path} says already"]
    here.down()
    assert here.shown() == before
    here.nothing_runs()
