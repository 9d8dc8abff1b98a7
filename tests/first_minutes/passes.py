"""The two passes: an operator who knows wg-quick, and one who knows nothing and has README alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.first_minutes.terminal import Played, Shell

Told = tuple[str, list[Played]]
"""What the operator wants, and what they type for it."""
PACKAGES_TAKE_Y = [("[Y/n]", "y")]
SITE_TO_SITE = [
    ("its name", ""),
    ("its public address", "198.51.100.1"),
    ("networks behind it", ""),
    ("its name", "paris"),
    ("its public address", "203.0.113.1"),
    ("networks behind it", "192.168.2.0/24"),
    ("Addresses of IPv6", ""),
]
"""The questions of `pywg init site-to-site`, and what is answered: tests/cli/test_init.py asks all of them."""


@dataclass
class Story:
    """What was played, in parts."""

    parts: list[Told] = field(default_factory=list)

    def part(self, title: str) -> None:
        """Begins one."""
        self.parts.append((title, []))

    def type(
        self,
        shell: Shell,
        command: str,
        *,
        answers: Sequence[tuple[str, str]] = (),
        status: int = 0,
        says: str = "",
        again: int = 0,
    ) -> Played:
        """Types a command, whose exit status and output have to be these. One that fails is typed `again` so often, as
        the first packets of a session may be lost."""
        for _ in range(again + 1):
            played = shell.type(command, answers)
            if played.status == status:
                break
        else:
            raise AssertionError(f"status {played.status}, not {status}: {command}\n{played.screen}")
        if says not in played.screen:
            raise AssertionError(f"{says!r} is not said: {command}\n{played.screen}")
        self.parts[-1][1].append(played)
        return played


def install(story: Story, shell: Shell, lines: Sequence[str]) -> None:
    """What README's "Install it" says, line by line."""
    story.part("Install it, as README says")
    story.type(shell, "cd pywg")
    for line in lines:
        story.type(shell, line, answers=PACKAGES_TAKE_Y)
    story.type(shell, "cd")


def knows_wg_quick(story: Story, berlin: Shell, paris: Shell, write: Callable[[str, str, str], None]) -> None:
    """Has a wg0.conf for both ends. `write(site, path, text)` is the operator's editor."""
    story.part("Is the file right?")
    story.type(berlin, "ls -l /etc/wireguard", says="wg0.conf")
    story.type(berlin, "pywg check wg0", says="nothing to find fault with")
    story.part("Up, and a look at it")
    story.type(berlin, "pywg up wg0", says="wg0 is up")
    story.type(paris, "pywg up wg0", says="wg0 is up")
    story.type(berlin, "pywg ping paris", says="4 answered", again=2)
    story.type(berlin, "pywg show", says="latest handshake")
    story.type(berlin, "pywg status", says="up")
    story.part("A peer changes")
    write("berlin", "192.168.2.0/24", "192.168.2.0/24, 10.20.0.0/16")
    story.type(berlin, "pywg check wg0 && pywg reload --dry-run wg0", says="10.20.0.0/16")
    story.type(berlin, "pywg reload wg0")
    story.type(berlin, "ip route show dev wg0", says="10.20.0.0/16")
    story.part("Mistakes")
    story.type(berlin, "pywg up wg0", status=1, says="pywg reload wg0")
    story.type(
        berlin, "pywg up wg1", status=1, says="there is no /etc/wireguard/wg1.conf; there is /etc/wireguard/wg0.conf"
    )
    story.type(berlin, "pywg up /etc/wireguard/wg0", status=1, says="did you mean")
    story.type(berlin, "pywg wg0.conf", status=2, says="pywg up")
    story.type(berlin, "pywg upp wg0", status=2, says="pywg up")
    story.type(berlin, "pywg start wg0", status=2, says="pywg up")
    story.type(berlin, "pywg down wg1", status=1, says="what is up: wg0")
    write("berlin", "PublicKey = ", "PublicKey = x")
    story.type(berlin, "pywg check wg0", status=1)
    story.type(berlin, "pywg reload wg0", status=1, says="PublicKey: the value")
    write("berlin", "PublicKey = x", "PublicKey = ")
    write("berlin", "AllowedIPs", "AllowedIP")
    story.type(berlin, "pywg reload wg0", status=1, says="AllowedIPs")
    write("berlin", "AllowedIP ", "AllowedIPs ")
    story.part("Not root")
    story.type(berlin, "useradd --create-home --shell /bin/bash alice")
    for command, status in (
        ("up wg0", 1),
        ("down wg0", 1),
        ("status", 1),
        ("show", 1),
        ("doctor wg0", 3),
        ("check wg0", 1),
    ):
        story.type(berlin, f"su alice -c 'pywg {command}'", status=status)
    story.part("Down")
    story.type(berlin, "pywg down wg0", says="wg0 is down")
    story.type(berlin, "pywg status", status=3, says="No tunnel of pywg runs")
    story.type(berlin, "pywg down wg0", status=1, says="is not up")
    story.type(paris, "pywg down wg0", says="wg0 is down")


def knows_nothing(story: Story, berlin: Shell, paris: Shell, carry: Callable[[str], None]) -> None:
    """Has README as far as "Two sites". `carry(folder)` brings a folder from Berlin to Paris."""
    story.part("What is there?")
    story.type(berlin, "pywg", status=2, says="init")
    story.type(berlin, "pywg help", says="init")
    story.type(berlin, "pywg help init", says="site-to-site")
    story.part("The files for both sites")
    story.type(berlin, "pywg init site-to-site", answers=SITE_TO_SITE, says="Written:")
    carry("paris")
    story.part("Both ends up, by the commands that it names")
    for shell, name in ((berlin, "berlin"), (paris, "paris")):
        story.type(shell, f"cd {name}")
        story.type(shell, "install -D -m 600 wg0.conf /etc/wireguard/wg0.conf")
        story.type(shell, "install -D -m 644 wg0-sysctl.conf /etc/sysctl.d/90-wg0.conf")
        story.type(shell, "sysctl -p /etc/sysctl.d/90-wg0.conf")
        story.type(shell, "nft -f wg0.nft")
        story.type(shell, "pywg up wg0", says="wg0 is up")
    story.type(berlin, "pywg ping paris", says="4 answered", again=2)
    story.type(berlin, "pywg status", says="paris")
    story.part("The other end is off")
    story.type(paris, "pywg down wg0", says="wg0 is down")
    story.type(berlin, "pywg ping paris", status=1)
    story.type(berlin, "pywg doctor wg0", status=4)
    story.type(paris, "pywg up wg0", says="wg0 is up")
    story.type(berlin, "pywg doctor wg0", status=0, again=2)
