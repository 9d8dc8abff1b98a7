"""python -m tests.installs WHAT [SUITE...]: installs what is in dist/, and joins two machines.

python: the wheel on interpreters of this machine, whose paths stand in place of SUITEs. least: the same with the oldest
versions of what it requires that pyproject.toml allows.

aarch64: the wheel of that processor, under an emulator (qemu-user-static). engine: docs/container's recipe, built and
run by podman (podman, buildah, crun). minutes: how long it takes from an empty Debian to the first answer, as a table.
container: docs/container's first process, with the capabilities that are said there alone, over the package.
deb: installed, upgraded under traffic, and purged, on Debian 13. wheel: installed by pip where there is no compiler, on
Debian 12 and 13 or those SUITEs; each has another Python. Needs root, debootstrap, and packages from where this machine
has them. A command whose status or words are not what they should be ends it.
"""

import argparse
import re
import tempfile
from pathlib import Path

from bench.tunnel.command import run
from ship.deb import SUITE
from ship.root import bootstrapped, needs_debootstrap
from ship.run import ROOT
from tests.first_minutes import debian
from tests.first_minutes.terminal import Shell
from tests.installs.aarch64 import try_aarch64
from tests.installs.engine import try_engine
from tests.installs.interpreters import least, try_interpreter
from tests.installs.minutes import WHEEL, play
from tests.installs.story import Told, newest, put, two_machines

NEWER = "9.9.9"
LEFT = "for file in $(cat ~/files); do if [ ! -d $file ] && [ -e $file ]; then echo left: $file; fi; done; echo done"
BOUNDING = "capsh --print | sed -n 's/^Bounding set =//p' | tr , '\\n' | grep -v -x -E '{}' | paste -sd,"
"""The capabilities that a process may have here, but for those."""
_LOST = """sed -n 's/.*icmp_seq=\\([0-9]*\\).*/\\1/p' ~/pings | sort -nu | awk 'END {print "lost: " $0 - NR "."}'"""
"""Pings without an answer before the last one that has one: those behind it were on their way when ping ended."""
_WITH = "wireguard-tools iproute2 iputils-ping procps nftables"


def newer(package: Path, directory: Path) -> Path:
    """The same package with a higher version, which its program says too."""
    tree, made = directory / "newer", directory / f"pywg_{NEWER}.deb"
    run("dpkg-deb", "--raw-extract", str(package), str(tree))
    for path, marker in (
        (tree / "DEBIAN" / "control", "Version: "),
        (next(tree.rglob("pywg/__init__.py")), "__version__ = "),
    ):
        value = NEWER if marker.endswith(": ") else f'"{NEWER}"'
        lines = [marker + value if line.startswith(marker) else line for line in path.read_text().splitlines()]
        path.write_text("\n".join(lines) + "\n")
    run("dpkg-deb", "--root-owner-group", "--build", str(tree), str(made), timeout=120)
    return made


def bring_up(story: Told, *shells: Shell) -> None:
    """Both ends, and packets between them."""
    for shell in shells:
        story.do(shell, "pywg up wg0", says="wg0 is up")
    story.do(shells[0], "pywg ping paris", says="4 answered", again=2)


def try_package(story: Told) -> None:
    """Installed, upgraded while packets go through, taken down and up, and purged."""
    package = newest("pywg_*.deb")
    with tempfile.TemporaryDirectory(prefix="pywg-installs-") as name:
        made = debian.Debian(Path(name), bootstrapped(SUITE).directory)
        later = newer(package, Path(name))
        with made.machine("installed") as shell:
            put(shell, package, later)
            story.do(shell, "apt-get update")
            story.do(shell, f"apt-get install --yes --no-install-recommends ./{package.name} {_WITH}")
            story.do(shell, "pywg version --verbose", says="/usr/lib/")
            story.do(shell, "ls /usr/lib/systemd/system | grep pywg", says="pywg-quick@.service")
            story.do(shell, "grep -h ^ExecStart= /usr/lib/systemd/system/pywg*", says="ExecStart=/usr/bin/pywg run")
            story.do(shell, "grep -rl /usr/local/bin/pywg /usr/lib/systemd/system", status=1)
            story.do(shell, "pywg systemd install", says="came with a package")
            story.do(shell, "getent group pywg-monitor", says="pywg-monitor:")
            story.do(
                shell,
                "dpkg --verify pywg && dpkg-query --show --showformat '${Conffiles}\\n' pywg",
                says="/etc/default/pywg",
            )
            story.do(shell, "cd /usr/share/doc/pywg && ls README.md docs/two-sites.md docs/metrics/dashboard.json; cd")
            story.do(shell, "ls /usr/share/bash-completion/completions/pywg /usr/share/zsh/*/_pywg", says="_pywg")
        with two_machines(made) as (berlin, paris):
            bring_up(story, berlin, paris)
            old = story.do(berlin, "pywg stats wg0 | grep ^version=")
            story.do(berlin, "echo '# mine' >> /etc/default/pywg")
            story.do(berlin, "ping -i 0.01 10.99.0.2 >~/pings 2>&1 & echo $! >~/pid")
            story.do(berlin, f"dpkg --force-confold --install ./{later.name}", says="Setting up pywg")
            story.do(berlin, "pywg version", says=NEWER)
            story.do(berlin, "pywg stats wg0 | grep ^version=", says=old)
            story.do(berlin, "pywg upgrade wg0", says="nothing was sent for")
            story.do(berlin, "pywg stats wg0 | grep ^version=", says=NEWER)
            story.do(berlin, f"kill -INT $(cat ~/pid); wait; {_LOST}", says="lost: 0.")
            story.do(berlin, "pywg status", says="up")
            story.do(berlin, "tail -n 1 /etc/default/pywg", says="# mine")
            story.do(berlin, "pywg down wg0", says="wg0 is down")
            bring_up(story, berlin)
            story.do(berlin, "pywg down wg0", says="wg0 is down")
            story.do(berlin, "dpkg --listfiles pywg >~/files")
            story.do(berlin, "dpkg --purge pywg", says="Purging")
            if "left:" in story.do(berlin, LEFT, says="done"):
                raise SystemExit("the purge has left something")
            story.do(berlin, "ls -d /usr/lib/python3/dist-packages/pywg /etc/default/pywg", status=2)


def try_container(story: Told) -> None:
    """The tunnel is up as long as the first process runs, and the process no longer than the interface is there."""
    package, entrypoint = newest("pywg_*.deb"), ROOT / "docs" / "container" / "entrypoint"
    recipe = (entrypoint.parent / "compose.yaml").read_text()
    (kept,) = re.findall(r"cap_add: \[(.+)\]", recipe)
    names = "|".join(f"cap_{name.lower()}" for name in kept.split(", "))
    with tempfile.TemporaryDirectory(prefix="pywg-installs-") as name:
        made = debian.Debian(Path(name), bootstrapped(SUITE).directory)
        with made.machine("installed") as shell:
            put(shell, package)
            (shell.root / "usr" / "local" / "bin" / "entrypoint").write_bytes(entrypoint.read_bytes())
            story.do(shell, "chmod 755 /usr/local/bin/entrypoint && apt-get update")
            packages = f"./{package.name} {_WITH} libcap2-bin"
            story.do(shell, f"apt-get install --yes --no-install-recommends {packages}")
        with two_machines(made) as (berlin, paris):
            story.do(paris, "pywg up wg0", says="wg0 is up")
            dropped = story.do(berlin, BOUNDING.format(names), says="cap_sys_admin").strip()
            begin = f"capsh --drop={dropped} -- /usr/local/bin/entrypoint wg0 >~/log 2>&1; echo ended $? >>~/log"
            wait = "for i in $(seq 60); do grep -q '{}' ~/log && break; sleep 1; done; cat ~/log"
            for end, status in (("pkill -TERM -x -f '.*/usr/local/bin/entrypoint wg0'", 0), ("ip link del wg0", 1)):
                story.do(berlin, f"({begin}) & sleep 1; {wait.format('interface is up')}", says="interface is up")
                story.do(berlin, "pywg ping paris", says="4 answered", again=2)
                story.do(berlin, f"{end}; {wait.format('^ended')}", says=f"ended {status}")
                story.do(berlin, "ip link show wg0", status=1)


def try_wheel(story: Told, suite: str) -> None:
    """Installed by pip, with a compiler that always fails."""
    wheel = newest(WHEEL)
    with tempfile.TemporaryDirectory(prefix="pywg-installs-") as name:
        made = debian.Debian(Path(name), bootstrapped(suite).directory)
        with made.machine("installed") as shell:
            put(shell, wheel)
            story.do(shell, "apt-get -o Acquire::Check-Valid-Until=no update")  # a mirror of sid may be some weeks old
            story.do(shell, f"apt-get install --yes --no-install-recommends python3-venv ca-certificates {_WITH}")
            story.do(shell, "python3 -m venv /opt/pywg")
            story.do(shell, f"CC=/bin/false /opt/pywg/bin/pip install --only-binary :all: ./{wheel.name}")
            story.do(shell, "ln -s /opt/pywg/bin/pywg /usr/local/bin/pywg")
            story.do(shell, "pywg version --verbose", says="pywg_tunnel.libs/libcrypto-")
            story.do(
                shell, "pywg systemd install --dry-run | grep ^ExecStart=", says="ExecStart=/usr/local/bin/pywg run"
            )
        with two_machines(made) as (berlin, paris):
            bring_up(story, berlin, paris)
            story.do(berlin, "pywg down wg0", says="wg0 is down")


def main() -> None:
    """Tries one or the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.installs", description=__doc__)
    parser.add_argument(
        "what", choices=("aarch64", "container", "deb", "engine", "least", "minutes", "python", "wheel")
    )
    parser.add_argument("suites", metavar="SUITE", nargs="*", default=["bookworm", "trixie"])
    given = parser.parse_args()
    needs_debootstrap()
    if given.what == "deb":
        try_package(Told())
    elif given.what == "container":
        try_container(Told())
    elif given.what == "engine":
        try_engine(bootstrapped(SUITE))
    elif given.what == "minutes":
        print(play())
    elif given.what == "aarch64":
        try_aarch64()
    elif given.what in ("least", "python"):
        for python in given.suites:
            try_interpreter(python, *(least() if given.what == "least" else ()))
    else:
        for suite in given.suites:
            try_wheel(Told(), suite)
    print("all of it holds")


if __name__ == "__main__":
    main()
