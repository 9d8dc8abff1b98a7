"""Words that an operator means for a tool, and not as the name of an interface.

The kernel takes almost any name for an interface. So a mistyped command would make one, and leave a daemon of root
behind it. `pywg run NAME` takes every name, and so does pywg when it is called by the name of another program.
"""

from collections.abc import Iterable, Sequence

_DOES = {
    "`wg {word}` does that": "set setconf addconf syncconf showconf",
    "`wg set` and `wg setconf` do that": "config configure",
    "`systemctl {word} pywg-quick@IFACE` does that, with the unit of `pywg systemd install`": ("enable disable"),
}
"""The tool that does what a command of other programs for tunnels does, where pywg has no such command."""
_IN_OTHER_TOOLS = {word: text for text, words in _DOES.items() for word in words.split()}
_MEANS = {
    "up": "add start connect",
    "down": "del delete remove kill stop disconnect",
    "reload": "restart",
    "bench": "benchmark",
    "status": "info list ls ps state peer peers interface interfaces",
    "show": "dump json",
    "upgrade": "update",
    "stats": "counters statistics",
    "genkey": "keygen gen-key",
    "genpsk": "gen-psk",
    "pubkey": "pub-key",
    "log": "loglevel",
    "monitor": "events watch",
    "metrics": "exporter prometheus",
    "doctor": "diagnose netcheck bugreport troubleshoot",
    "help": "usage man manual commands options",
    "init": "setup wizard mesh site-to-site",
    "check": "lint validate verify",
    "qr": "qrcode qr-code",
    "systemd": "install uninstall service",
}
_MEANT = {word: command for command, words in _MEANS.items() for word in words.split()}
_SHORT = 4
"""Length up to which too many names are one letter away from a command: lan from log, sun from run."""


def not_an_interface(word: str, commands: Iterable[str]) -> str:
    """One line that says why the first argument `word` is not taken for an interface; "" when it may well be one."""
    if "/" in word or word.lower().endswith(".conf"):
        return _about_file(word)
    lower = word.lower()
    if lower in _IN_OTHER_TOOLS:
        text = f"there is no command {lower!r} yet: {_IN_OTHER_TOOLS[lower].format(word=lower)}"
    elif meant := _MEANT.get(lower) or _nearest(lower, commands):
        text = f"there is no command {word!a}: did you mean `pywg {meant}`?"
    else:
        return ""
    return f"{text} (`pywg run {_quoted(word)}` makes an interface of that name)"


def not_a_command(words: Sequence[str]) -> str:
    """One line about several names, of which the first is no command; "" for one name."""
    if len(words) < 2:
        return ""
    several = " ".join(_quoted(word) for word in words)
    begun = f"there is no command {words[0]!a}, see pywg help; without a command, one interface at a time"
    return f"{begun} (`pywg run {several}` serves several)"


def _about_file(word: str) -> str:
    if not word.lower().endswith(".conf"):
        return f"{word!a} is a path, and pywg takes the name of an interface"
    path = _quoted(word if "/" in word else f"./{word}")
    return f"{word!a} is a file, and pywg takes the name of an interface: `pywg up {path}` sets up what the file says"


def _nearest(word: str, commands: Iterable[str]) -> str:
    """The command that a word resembles; of several the one that it is, or whose letters it has all, or begins with:
    stats and status are close."""
    resembling = [command for command in commands if _resembles(word, command)]
    letters = sorted(word)
    return max(
        resembling,
        key=lambda command: (command == word, sorted(command) == letters, word.startswith(command)),
        default="",
    )


def _resembles(word: str, command: str) -> bool:
    """Whether a word is `command` itself or mistyped: one letter too many, missing, other, or two exchanged."""
    if word == command:
        return True
    written, meant = word, command
    while written[:1] == meant[:1] != "":
        written, meant = written[1:], meant[1:]
    while written[-1:] == meant[-1:] != "":
        written, meant = written[:-1], meant[:-1]
    if len(written) == len(meant) == 2:
        return written == meant[::-1]
    if max(len(written), len(meant)) != 1 or not word.isalpha():
        return False
    return len(command) > _SHORT or word in (f"{command}s", f"{command}{command[-1]}")


def _quoted(word: str) -> str:
    """A word as a shell reads it, and always on one line."""
    import shlex

    return shlex.quote(word) if word.isprintable() else ascii(word)
