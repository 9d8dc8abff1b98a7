"""Name servers of a tunnel where a real program keeps them: openresolv, Debian's resolvconf, systemd-resolved.

The packages conflict with each other, and one changes the machine that it is installed on: `.ci/packages` unpacks them.
"""

import functools
import re
import sys
from pathlib import Path

import pytest

from bench.tunnel.builds import ROOT
from bench.tunnel.command import run
from tests.requirements import require_tool

PACKAGES = ROOT / ".cache" / "debian"
KINDS = ("openresolv", "resolvconf", "systemd-resolved")


@functools.cache
def played(kind: str, command: str) -> dict[str, str]:
    """What stands before, "up" and "down"."""
    if not (PACKAGES / kind).is_dir():
        pytest.skip(f"{kind} is not unpacked: .ci/packages does that")
    require_tool("dbus-daemon")
    require_tool("wg-quick")
    script = str(Path(__file__).with_name("name_servers.sh"))
    namespaces = ("--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child")
    text = run(
        *("unshare", *namespaces, "bash", script, kind, str(PACKAGES / kind), str(ROOT), sys.executable, command),
        timeout=120,
    )
    parts = re.split(r"^== (\w+)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_asked_while_the_tunnel_is_up(kind: str) -> None:
    stood = played(kind, "pywg")
    assert "10.99.0.53" not in stood["before"]
    assert re.search(r"(nameserver |: )10\.99\.0\.53\b", stood["up"])
    assert "fd00::53" in stood["up"]
    assert "corp.example" in stood["up"]
    assert stood["down"] == stood["before"]


def test_no_other_is_asked() -> None:
    """Debian's resolvconf puts those of the tunnel first, and keeps the others."""
    assert "192.168.1.1" in played("openresolv", "pywg")["before"]
    assert "192.168.1.1" not in played("openresolv", "pywg")["up"]
    asked = re.findall("nameserver (.*)", played("resolvconf", "pywg")["up"])
    assert asked == ["10.99.0.53", "fd00::53", "192.168.1.1"]
    assert "~." in played("systemd-resolved", "pywg")["up"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_as_with_wg_quick(kind: str) -> None:
    assert played(kind, "pywg") == played(kind, "wg-quick")
