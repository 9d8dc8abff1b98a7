"""The memory of both daemons of a handover, searched for every secret that the first has had (test_memory_image.py).

In the one that comes, a secret in use is in an arena and nowhere else; in the one that goes, when it ends, it is
nowhere.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pywg.runtime.base.in_use import daemon_of
from tests import ptrace
from tests.keys.other_end import new_key
from tests.keys.real_daemon import KINDS, build_shim, real_daemon, until
from tests.keys.test_memory_image import Life, all_wait, echo_request
from tests.process_memory import Part, Search, arena_contents, image, memory, outside_arenas
from tests.requirements import require_root, require_tool
from tests.runtime.namespace import run_inside, unique

pytestmark = pytest.mark.netns


@dataclass
class Found:
    """What was found where."""

    left_in_the_old_one: Mapping[str, set[str]] = field(default_factory=dict)
    outside_in_the_new_one: Mapping[str, set[str]] = field(default_factory=dict)
    in_the_arenas_of_the_new_one: set[str] = field(default_factory=set)
    known: int = 0
    shared: bool = False
    """whether the old one's memory was there to be searched, with the parcel among it"""


def handed_over(directory: Path, *, wiping: bool) -> Found:
    """Sessions in both roles, a handover, traffic in the new daemon, and both are searched."""
    require_root()
    require_tool("ip")
    found = Found()

    def test() -> None:
        name = unique("pywgh")
        with real_daemon(name, build_shim(directory), wiping=wiping) as daemon:
            life = Life(daemon)
            first = new_key()
            life.secrets["private key 1"] = first
            daemon.set(f"private_key={first.hex()}")
            near = life.new_peer(1, first)
            session = near.initiate()
            near.exchange(session, echo_request(), 70)
            daemon.hear()
            secrets = daemon.told | life.secrets
            upgrade = subprocess.Popen([sys.executable, "-m", "pywg", "upgrade", name], stdout=subprocess.DEVNULL)
            with ptrace.at_exit(daemon.pid, signal.SIGCONT):
                daemon.hear()
                secrets |= daemon.told
                found.left_in_the_old_one = Search(secrets).find(memory(daemon.pid))
            assert upgrade.wait(20) == 0
            new = daemon_of(name)
            assert new is not None
            assert new.pid not in (0, daemon.pid)
            try:
                near.exchange(session, echo_request(), 70)
                until(lambda: all_wait(new.pid))
                parts = image(new.pid)
                search = Search(secrets)
                slots = {f"slot {number}": slot for number, slot in enumerate(arena_contents(parts))}
                outside: dict[str, set[str]] = dict(search.find(outside_arenas(parts)))
                outside |= Search(slots).find(outside_arenas(parts))
                found.outside_in_the_new_one = outside
                found.in_the_arenas_of_the_new_one = set(search.find(part for part in parts if part.arena))
                found.known = len(secrets)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(new.pid, signal.SIGTERM)

    run_inside(test, timeout=120)
    return found


def test_each_secret_is_in_the_arenas_of_the_new_daemon_and_nowhere_else(tmp_path: Path) -> None:
    found = handed_over(tmp_path, wiping=True)
    assert found.left_in_the_old_one == {}
    assert found.outside_in_the_new_one == {}
    there = found.in_the_arenas_of_the_new_one
    assert {"private key 1", "preshared key 1"} <= there
    assert sum(name.startswith(KINDS["S"]) for name in there) >= 2


def test_the_search_finds_them_where_nothing_is_wiped(tmp_path: Path) -> None:
    """The same, of an old daemon that keeps what it should wipe."""
    found = handed_over(tmp_path, wiping=False)
    left = {name.rstrip("0123456789 ") for name in found.left_in_the_old_one}
    assert {KINDS["S"], "private key", "preshared key"} <= left


def test_a_parcel_that_is_not_wiped_is_found() -> None:
    """The memory that both share is no arena: the search looks into it."""
    from pywg.dataplane.crypto.secret import Secret
    from pywg.runtime.base.parcel import ReceivedParcel, SentParcel, Writer

    key = os.urandom(32)
    sent = SentParcel()
    received = ReceivedParcel(os.dup(sent.fd), 4096)
    assert received.locked
    contents = Writer()
    contents.put_secret(Secret(key))
    sent.write(contents.parts)

    def seen() -> list[Part]:
        return [part for part in memory(os.getpid()) if "memfd:pywg" in part.name]

    assert Search({"key": key}).find(seen())
    received.wipe()
    assert not Search({"key": key}).find(seen())
    sent.write(contents.parts)
    sent.wipe()
    assert not Search({"key": key}).find(seen())
