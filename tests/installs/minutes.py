"""From an empty Debian to the first answered ping: how many commands, and how long each way of installing takes."""

import tempfile
from pathlib import Path

from ship.deb import SUITE
from ship.root import bootstrapped
from tests.first_minutes import debian
from tests.first_minutes.__main__ import install_lines
from tests.first_minutes.passes import PACKAGES_TAKE_Y
from tests.installs.story import Told, newest, put, two_machines
from tests.packages import ROOT, sources

OLDER = "bookworm"
NAMES = {OLDER: "Debian 12", SUITE: "Debian 13"}
APT = "apt-get install --yes --no-install-recommends"
WAYS = (("wheel", OLDER), ("wheel", SUITE), ("package", SUITE), ("sources", OLDER), ("sources", SUITE))
"""Debian 12 has older Python packages than pywg's own package needs."""


def lines(way: str) -> list[str]:
    """What is typed at a machine, as README says; --yes apart, and the certificates, which pip needs here."""
    if way == "package":
        return ["apt-get update", f"apt-get install --yes ./{newest('pywg_*.deb').name}"]
    update, _, venv, _, link = made = install_lines()
    if way == "sources":
        return ["cd pywg", *made, "cd"]
    tools = "python3-venv ca-certificates wireguard-tools iproute2 procps nftables"
    return [update, f"{APT} {tools}", venv, f"/opt/pywg/bin/pip install ./{newest(WHEEL).name}", link]


WHEEL = "pywg_tunnel-*x86_64.whl"


def row(way: str, suite: str) -> str:
    """Plays one, and returns its row of a table."""
    story = Told()
    with tempfile.TemporaryDirectory(prefix="pywg-minutes-") as name:
        made = debian.Debian(Path(name), bootstrapped(suite).directory)
        with made.machine("installed") as shell:
            if way == "sources":
                for source in sources():
                    target = shell.root / "root" / "pywg" / source
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes((ROOT / source).read_bytes())
            else:
                put(shell, newest("pywg_*.deb" if way == "package" else WHEEL))
            for line in lines(way):
                story.type(shell, line, answers=PACKAGES_TAKE_Y)
        installed = sum(one.seconds for one in story.parts[0][1])
        commands = sum(not one.command.startswith("cd") for one in story.parts[0][1])
        with two_machines(made) as (berlin, paris):
            for shell in (paris, berlin):
                story.do(shell, "pywg up wg0", says="wg0 is up")
            story.do(berlin, "pywg ping --count 1 paris", says="1 answered", again=3)
        ready = sum(one.seconds for one in story.parts[0][1]) - installed
    return f"| {NAMES[suite]} | {way} | {commands} + 1 | {installed / 60:.1f} min | {ready:.1f} s |"


def play() -> str:
    """The table."""
    head = "| | by | commands a machine | to install | both up, and the first answer |\n|---|---|---|---|---|\n"
    return head + "\n".join(row(way, suite) for way, suite in WAYS)
