"""python -m tests.first_minutes: plays both passes in an empty Debian root, and writes docs/first-ten-minutes.md.

Needs root, debootstrap, and Debian's and Python's packages from where this machine has them; some ten minutes. A
command whose status or words are not what they should be ends it, and the document stays as it was.
"""

import os
import re
import textwrap
from datetime import UTC, datetime

from bench.tunnel.command import run
from ship.root import needs_debootstrap
from tests import packages
from tests.first_minutes import debian, passes
from tests.first_minutes.passes import Story
from tests.first_minutes.terminal import Played, Shell

DOCUMENT = packages.ROOT / "docs" / "first-ten-minutes.md"
NEAR, FAR = "198.51.100.1", "203.0.113.1"
FILE = """\
[Interface]
PrivateKey = {private}
ListenPort = 51820
Address = 10.99.0.{number}/24

[Peer]
# Name = {other}
PublicKey = {public}
Endpoint = {endpoint}:51820
AllowedIPs = 10.99.0.{others}/32, 192.168.{others}.0/24
"""
HEADER = """\
Written by `python -m tests.first_minutes`, which played it on {day}: an empty Debian 13 root (`debootstrap
--variant=minbase trixie`), and in it the commands of a user, typed at a terminal of 100 columns. Beside each command
is its time by the clock, on two processors that were shared with other work ({load}); a machine of your own is faster.
Berlin and Paris are two machines that share that root as it is after the installation: namespaces of every kind,
joined by a veth. The root has no systemd, so what starts at boot is not shown here;
[systemd/README.md](systemd/README.md) has it. The keys were for this alone.

"""
ABOUT = {
    "The installation": "The checkout is in ~/pywg. Long outputs are cut; apt-get asks once.",
    "Knows wg-quick": "The operator has a wg0.conf for each end, as for wg-quick, in /etc/wireguard.",
    "Knows nothing": 'The operator has README, as far as "Two sites", and an address for each end.',
}
_LONG = ("apt-get", "/opt/pywg/bin/pip")


def install_lines() -> list[str]:
    """The commands of README's "Install it"."""
    section = (packages.ROOT / "README.md").read_text().partition("\n## Install it\n")[2]
    block = re.search(r"(?:^    .*\n)+", section, re.M)
    assert block
    return re.sub(r" *\\\n *", " ", textwrap.dedent(block[0])).strip().splitlines()


def play() -> dict[str, Story]:
    """All, by title."""
    stories = {title: Story() for title in ABOUT}
    install, knowing, new = stories.values()
    with debian.debian() as root:
        with root.machine("installed") as shell:
            passes.install(install, shell, install_lines())
        for number, (story, passing) in enumerate(((knowing, _knowing), (new, _new))):
            with (
                debian.two_networks(NEAR, FAR) as (here, there),
                root.machine("berlin", directory=f"berlin{number}", over="installed", namespace=here) as berlin,
                root.machine("paris", directory=f"paris{number}", over="installed", namespace=there) as paris,
            ):
                passing(story, berlin, paris)
    return stories


def _knowing(story: Story, berlin: Shell, paris: Shell) -> None:
    private = [run("wg", "genkey").strip() for _ in range(2)]
    public = [run("wg", "pubkey", stdin=key).strip() for key in private]
    texts = {}
    shells = {"berlin": berlin, "paris": paris}
    for own, (name, other, endpoint) in enumerate((("berlin", "paris", FAR), ("paris", "berlin", NEAR))):
        texts[name] = FILE.format(
            private=private[own], number=own + 1, other=other, public=public[1 - own], endpoint=endpoint, others=2 - own
        )
        _save(shells[name], texts[name])

    def edit(name: str, old: str, new: str) -> None:
        assert old in texts[name]
        texts[name] = texts[name].replace(old, new)
        _save(shells[name], texts[name])

    passes.knows_wg_quick(story, berlin, paris, edit)


def _new(story: Story, berlin: Shell, paris: Shell) -> None:
    def carry(folder: str) -> None:
        run("cp", "-a", str(berlin.root / "root" / folder), str(paris.root / "root"))

    passes.knows_nothing(story, berlin, paris, carry)


def _save(shell: Shell, text: str) -> None:
    path = shell.root / "etc" / "wireguard" / "wg0.conf"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def page(stories: dict[str, Story], load: str) -> str:
    """The document."""
    header = HEADER.format(day=f"{datetime.now(UTC):%d %B %Y}", load=load)
    about = textwrap.fill(header, 120, break_on_hyphens=False, break_long_words=False)
    parts = [f"# The first ten minutes\n\n{about}\n\n"]
    for title, story in stories.items():
        played = [one for _, commands in story.parts for one in commands]
        total = sum(one.seconds for one in played)
        parts.append(f"## {title}\n\n{ABOUT[title]} {len(played)} commands, {total:.0f} s.\n\n")
        for heading, commands in story.parts:
            parts.append(f"### {heading}\n\n{''.join(map(_block, commands))}\n")
    return "".join(parts).rstrip() + "\n"


def _block(played: Played) -> str:
    lines = played.screen.splitlines()
    if played.command.startswith(_LONG):
        lines = [f"[{len(lines) - 1} lines]", lines[-1]] if len(lines) > 1 else lines
    seconds = f"{played.seconds:.1f} s"
    first = f"{played.prompt} {played.command}"
    shown = [f"{first:<{90 - len(seconds)}}  # {seconds}", *lines]
    return "".join(f"    {line}".rstrip() + "\n" for line in shown)


def main() -> None:
    """Plays, and writes. SystemExit, with one line, where it can't."""
    needs_debootstrap()
    before = os.getloadavg()[0]
    stories = play()
    text = page(stories, f"a load of {before:.0f} at the beginning and {os.getloadavg()[0]:.0f} at the end")
    DOCUMENT.write_text(text)
    print(f"{DOCUMENT} is written")


if __name__ == "__main__":
    main()
