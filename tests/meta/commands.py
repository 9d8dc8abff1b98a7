"""python -m tests.meta.commands: how many of the commands that README and the guides show are run by tests, and which.

A page's blocks of what is typed, or put into a file, stand here with what runs them. A block that is not here fails
tests/meta/test_commands.py, and so does an entry without a block.
"""

import re
from pathlib import Path
from typing import NamedTuple

from tests.pages import blocks_in

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/*.md", "docs/systemd/README.md")
PLAYED = {
    "docs/first-ten-minutes.md": "tests/first_minutes/__main__.py",
    "docs/metrics.md": "tests/netns/test_metrics.py",
    "docs/python.md": "tests/netns/test_python_guide.py",
}
"""Pages that are written by what runs their commands, or all of whose blocks one file runs."""
_README, _GUIDES, _INIT = "tests/netns/test_readme.py", "tests/netns/test_guides.py", "tests/netns/test_init.py"
_SYSTEMD, _UNITS = "tests/netns/test_systemd.py", "tests/runtime/daemon/test_systemd_units.py"
_EXEC = "tests/netns/exec/test_command.py"
_GATEWAYS = "tests/netns/test_two_gateways.py"
_FIRST = "tests/first_minutes/__main__.py"
BY_HAND = ("tests/first_minutes/", "tests/installs/", "bench/", "ship/")
"""What runs in no `make test`."""
RUN_BY: dict[str, dict[str, str]] = {
    "README.md": {
        "make demo": "",
        "apt-get update": _FIRST,
        "pywg init site-to-site": _INIT,
        "install -D -m 600": _INIT,
        "pywg down wg0": _SYSTEMD,
        "mkdir -p -m 700": _README,
        "[Interface]": _README,
        "pywg up wg0": _README,
        "pywg wg0 A": _README,
        "pywg wg0 B": _README,
        "WG_QUICK_USERSPACE_IMPLEMENTATION": _README,
        "make test": "",
    },
    "docs/exec.md": {"pywg exec work.conf -- curl": _EXEC, "pywg exec work.conf -- sh": _EXEC},
    "docs/fast-links.md": {"pywg status": _GUIDES},
    "docs/kernel-or-pywg.md": {"ip -details": _GUIDES, "wg-quick down": _GUIDES},
    "docs/performance.md": {"pywg run wg0 wg1": "tests/netns/test_ecmp.py"},
    "docs/releasing.md": {
        "echo": "tests/meta/test_sign.py",
        "ssh-keygen": "tests/meta/test_sign.py",
        "make dist": "tests/installs/__main__.py",
    },
    "docs/replacing-wireguard-go.md": {"WG_QUICK_USERSPACE": _GUIDES, "wg-quick down": _GUIDES},
    "docs/troubleshooting.md": {"pywg doctor": _GUIDES, "pywg ping": _GUIDES},
    "docs/two-gateways.md": {
        "hosts": "picture",
        "(umask 077": _GATEWAYS,
        "[Interface]": _GATEWAYS,
        "table inet": _GATEWAYS,
        "router id 10.1.0.2": _GATEWAYS,
        "router id 10.1.0.1": _GATEWAYS,
        "net.ipv4": _GATEWAYS,
        "chmod 600": _GATEWAYS,
        "sysctl -p": _GATEWAYS,
        "birdc show ospf neighbors\nip route": _GATEWAYS,
        "birdc show ospf neighbors\n": _GATEWAYS,
    },
    "docs/upgrading.md": {
        "pywg upgrade wg0": "tests/netns/test_upgrade.py",
        "pywg down wg0": _GUIDES,
    },
    "docs/two-sites.md": {
        "pywg init": _GUIDES,
        "install -D": _GUIDES,
        "pywg status": _GUIDES,
        "pywg down wg0": _SYSTEMD,
        "install -m 644 wg0.nft": _GUIDES,
        "pywg check": _GUIDES,
    },
    "docs/systemd/README.md": {
        "pywg systemd install": "tests/manage/test_service_units.py",
        "units=": _UNITS,
        "systemctl enable --now pywg-quick@wg0": _SYSTEMD,
        "install -D -m 644 $units/wg-quick": _UNITS,
        "systemctl enable --now pywg@wg0": _SYSTEMD,
        "[Match]": _SYSTEMD,
        "echo 'INTERFACES": _SYSTEMD,
        "useradd": _UNITS,
        "install -D -m 644 $units/pywg@.service.d-shards": _SYSTEMD,
        "sandbox_no_new_privs": "tests/netns/test_sandbox.py",
    },
}
"""By page and how a block begins: the file that runs it, nothing where no test does, or that it is a picture. A letter
at the end of a beginning tells blocks with the same one apart."""


class Block(NamedTuple):
    """What is typed, or stands in a file."""

    page: str
    text: str

    @property
    def commands(self) -> int:
        """Lines, but for those that go on and for remarks."""
        lines = re.sub(r"\\\n", "", self.text).splitlines()
        return sum(bool(line.strip()) and not line.startswith("#") for line in lines)


def blocks(page: str) -> list[Block]:
    """Of a page of the checkout."""
    return [Block(page, text) for text in blocks_in((ROOT / page).read_text())]


def pages() -> list[str]:
    """Those with blocks."""
    found = [path.relative_to(ROOT).as_posix() for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    return [page for page in found if blocks(page)]


def assign(found: list[Block], entries: dict[str, str]) -> tuple[list[tuple[Block, str]], list[str]]:
    """Each block with what runs it, by the entries in their order; and what is left: blocks, or entries."""
    pairs, left = [], list(entries.items())
    missing = []
    for block in found:
        for entry in left:
            if block.text.lstrip().startswith(re.sub(r" [AB]$", "", entry[0])):
                pairs.append((block, entry[1]))
                left.remove(entry)
                break
        else:
            missing.append(f"{block.page}: {block.text.splitlines()[0]}")
    return pairs, [*missing, *(beginning for beginning, _ in left)]


def table() -> str:
    """How many commands of each page are run, and by what kind of test."""
    rows, totals = [], [0, 0, 0]
    for page in pages():
        pairs = (
            [(block, PLAYED[page]) for block in blocks(page)]
            if page in PLAYED
            else assign(blocks(page), RUN_BY.get(page, {}))[0]
        )
        counts = [0, 0, 0]
        for block, by in pairs:
            if by != "picture":
                counts[2 if not by else 1 if by.startswith(BY_HAND) else 0] += block.commands
        totals = [one + more for one, more in zip(totals, counts, strict=True)]
        rows.append(f"| {page} | {counts[0]} | {counts[1]} | {counts[2]} |")
    head = "| page | lines run by `make test` | by hand | by none |\n|---|---|---|---|\n"
    return "\n".join([head + rows[0], *rows[1:], f"| all | {totals[0]} | {totals[1]} | {totals[2]} |"])


if __name__ == "__main__":
    print(table())
