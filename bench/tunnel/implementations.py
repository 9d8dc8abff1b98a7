"""The daemons that can stand at an end of the tunnel, by the names that the command lines use."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import builds
from .builds import NotInstalledError
from .command import CommandError, run

OPENVPN_CIPHERS = {"openvpn-chacha": "CHACHA20-POLY1305"}
OPENVPN_DEFAULT_CIPHER = "AES-256-GCM"


@dataclass(frozen=True, slots=True)
class Implementation:
    """A daemon: `command` is run in the foreground with the interface's name behind it.

    `openvpn_cipher` is empty for a WireGuard daemon, which is configured through its UAPI socket; else the daemon is
    OpenVPN, with that cipher on its data channel, tuned for speed or as it comes. `bare`: it is the forwarder, which
    has no configuration but its command line. `roams`: a peer without an endpoint gets the one that it writes from.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    openvpn_cipher: str = ""
    openvpn_tuned: bool = False
    bare: bool = False
    roams: bool = True

    def argv(self, interface: str) -> list[str]:
        """The command line that serves `interface`."""
        return [*self.command, interface]

    def environment(self) -> dict[str, str]:
        """The environment it runs in: ours, its own additions, and no more than errors in its log unless asked for."""
        return {"LOG_LEVEL": "error", **os.environ, **self.env}

    @property
    def has_stats(self) -> bool:
        """Whether `COMMAND stats INTERFACE` prints counters and offloads: pywg's own addition."""
        return self.name.startswith("pywg")


def find(name: str) -> Implementation:
    """The daemon called `name`, one of NAMES, or the path of another. Builds nothing.

    A path is taken to understand `-f INTERFACE`, as wireguard-go does. Raises NotInstalledError.
    """
    if name in _FINDERS:
        return _FINDERS[name](name)
    if "/" in name and os.access(name, os.X_OK):
        return Implementation(Path(name).name, (str(Path(name).resolve()), "-f"))
    raise NotInstalledError(f"unknown daemon {name!r}: {', '.join(NAMES)}, or the path of a program")


def build(name: str) -> Implementation:
    """As find(), but builds what can be built and is not there yet, into .cache. Raises NotInstalledError."""
    if name in builds.BUILDERS:
        builds.BUILDERS[name]()
    return find(name)


def version(implementation: Implementation) -> str:
    """The version that the daemon reports, in one line; that of the module too where Go has made it.

    What a fork of wireguard-go reports is the version that it began from.
    """
    said = run(*_version_command(implementation), env={**os.environ, **implementation.env})
    line = next(iter(said.splitlines()), "?")
    if implementation.openvpn_cipher:
        options = "large buffers and --fast-io" if implementation.openvpn_tuned else "default options"
        return f"{' '.join(line.split()[:2])}, UDP, {implementation.openvpn_cipher}, {options}, no DCO"
    if implementation.name == "no-cipher":
        return f"{line}, its cipher left out"
    module = go_module_of(implementation.command[0])
    return f"{line}, module {module}" if module else line


def go_module_of(program: str) -> str:
    """The module, with its version, that a program was made of, and the Go that made it. Empty: not by Go."""
    go = shutil.which("go") or shutil.which("go", path=builds.GO_BESIDES)
    if go is None:
        return ""
    try:
        lines = run(go, "version", "-m", program).splitlines()
    except CommandError:
        return ""
    words = [line.split() for line in lines]
    compiler = lines[0].rpartition(": ")[2] if lines else ""
    module = next((f"{one[1]} {one[2]}" for one in words if one[:1] == ["mod"] and len(one) > 2), "")
    path = next((one[1] for one in words if one[:1] == ["path"] and len(one) > 1), "")
    return f"{module or f'{path} (of a distribution)'}, {compiler}" if path else ""


def _version_command(implementation: Implementation) -> list[str]:
    return [*(word for word in implementation.command if word != "-f"), "--version"]


def _pywg(name: str) -> Implementation:
    """The console script beside the running interpreter, so that the lab tests what this environment has installed."""
    script = Path(sys.executable).parent / "pywg"
    if not script.exists():
        raise NotInstalledError(f"{script} is not there: make venv builds it")
    return Implementation(name, (str(script), "-f"))


def _no_cipher(name: str) -> Implementation:
    if not builds.null_cipher_is_current():
        raise NotInstalledError("the build without a cipher is not there: make bench builds it")
    # -P: not the package in the current directory, which has the cipher.
    return Implementation(name, (sys.executable, "-P", "-m", "pywg", "-f"), {"PYTHONPATH": str(builds.NULL_CIPHER)})


def _short_lived(name: str) -> Implementation:
    if not (builds.SHORT_LIVED / ".sources").exists():
        raise NotInstalledError("the build with short-lived keys is not there: the soak builds it")
    return Implementation(name, (sys.executable, "-P", "-m", "pywg", "-f"), {"PYTHONPATH": str(builds.SHORT_LIVED)})


def _wireguard_go(name: str) -> Implementation:
    return Implementation(name, (_installed(name, "wireguard-go"), "-f"))


def _built(path: Path, *options: str) -> Callable[[str], Implementation]:
    def found(name: str) -> Implementation:
        if not path.exists():
            raise NotInstalledError(f"{name} is not there: make bench builds it where its compiler is installed")
        return Implementation(name, (str(path), "-f", *options))

    return found


def _openvpn(name: str) -> Implementation:
    return Implementation(
        name,
        (_installed("openvpn", "openvpn"),),
        openvpn_cipher=OPENVPN_CIPHERS.get(name, OPENVPN_DEFAULT_CIPHER),
        openvpn_tuned=name == "openvpn-tuned",
    )


_FORWARDERS: dict[str, list[str]] = {"forwarder": [], "forwarder-cuts": ["--cut"], "forwarder-seals": ["--seal"]}


def _forwarder(name: str) -> Implementation:
    if not builds.FORWARDER.exists():
        raise NotInstalledError("the bare forwarder is not there: make bench builds it")
    command = (str(builds.FORWARDER), *_FORWARDERS[name])
    try:
        run(*command, "--version")
    except CommandError as error:
        raise NotInstalledError(f"{name} is missing from this run: {error}") from error
    return Implementation(name, command, bare=True)


def _installed(program: str, package: str) -> str:
    if found := shutil.which(program) or shutil.which(program, path="/usr/sbin"):
        return found
    raise NotInstalledError(f"{program} is not installed: apt-get install {package}")


# boringtun and gotatun drop to the user of the login session, if there is one, unless told not to.
_FINDERS: dict[str, Callable[[str], Implementation]] = {
    "pywg": _pywg,
    "no-cipher": _no_cipher,
    "pywg-short-lived": _short_lived,
    "wireguard-go": _wireguard_go,
    "wireguard-go-new": _built(builds.GO_BIN / "wireguard"),
    "tailscale": lambda name: replace(_built(builds.GO_BIN / "wireguard-go")(name), roams=False),
    "boringtun": _built(builds.CARGO / "bin" / "boringtun-cli", "--disable-drop-privileges"),
    "gotatun": _built(builds.CARGO / "bin" / "gotatun", "--disable-drop-privileges", "--verbosity", "error"),
    "openvpn": _openvpn,
    "openvpn-tuned": _openvpn,
    "openvpn-chacha": _openvpn,
    **dict.fromkeys(_FORWARDERS, _forwarder),
}
NAMES = tuple(_FINDERS)
