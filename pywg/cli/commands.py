"""The commands that there are, in the order in which an operator needs them. Reading the table loads none of them."""

from typing import NamedTuple


class Command(NamedTuple):
    """A row of the table. The module's function `define` gives a parser the command's arguments, and its `execute`."""

    summary: str
    """what it does, in one line of `pywg --help` and of the shell's completion"""
    module: str
    """below pywg.cli"""
    define: str = "define"
    has_keys: bool = False
    """it reads or makes keys, and starts no other program"""


COMMANDS = {
    "init": Command("write the files that join two sites, or many: keys, rules, all", "init", has_keys=True),
    "up": Command("set up the interface of a wg-quick file", "up", "define_up"),
    "down": Command("take an interface down, and all that was done for it", "up", "define_down"),
    "reload": Command("change a running interface to what its file says now", "up", "define_reload"),
    "exec": Command("run a command whose only network is a tunnel, without root", "exec"),
    "status": Command("show what runs, how it does, and what is wrong", "status", has_keys=True),
    "show": Command("show the state of interfaces, as `wg show` does", "show", has_keys=True),
    "top": Command("watch rates, peers and drops on a live screen", "top", has_keys=True),
    "monitor": Command("print what happens, while it happens", "monitor"),
    "metrics": Command("answer Prometheus: bytes, handshakes, drops, memory and more", "metrics"),
    "companion": Command("resolve endpoints again, try others, run hooks on events", "companion"),
    "doctor": Command("find out why there is no tunnel, or a bad one", "doctor"),
    "ping": Command("ping a peer through the tunnel, find the MTU", "ping"),
    "check": Command("say what is wrong in wg-quick files", "files", "define_check", has_keys=True),
    "save": Command("write what runs into the interface's file", "files", "define_save", has_keys=True),
    "strip": Command("print what wg takes of a wg-quick file", "files", "define_strip", has_keys=True),
    "qr": Command("show a wg-quick file as a QR code, for a phone", "qr", has_keys=True),
    "stats": Command("show the counters and offloads of a running interface", "stats"),
    "log": Command("change how much a running interface writes to its log", "log"),
    "upgrade": Command("put this pywg in a running one's place; sessions go on", "upgrade"),
    "systemd": Command("write systemd's units, or remove them", "systemd"),
    "bench": Command("measure what this machine does: ciphers and offloads", "bench"),
    "genkey": Command("write a new private key", "keys", "define_genkey", has_keys=True),
    "genpsk": Command("write a new preshared key", "keys", "define_genpsk", has_keys=True),
    "pubkey": Command("read a private key and write its public key", "keys", "define_pubkey", has_keys=True),
    "run": Command("the same as no command; takes every name, and several", "run_options"),
    "help": Command("show help, about a command or in general", "help"),
    "version": Command("show the version", "version"),
}
