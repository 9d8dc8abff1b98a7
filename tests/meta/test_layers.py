"""Who may import whom: each layer knows the ones below it, and nothing above or beside it.

Of Python; native code has floors of its own (test_dataplane_layers).
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "pywg"

BASE = {"constants", "errors"}
# Native, and above the data plane all the same: a locked buffer, so that keys never live in bytes.
SECRET = "dataplane.crypto.secret"
# The keys of mac1 and of cookies, which both planes derive from a public key.
MAC_KEYS = "dataplane.crypto.cookie_mac"
# The handshake's primitives, of the library that the data plane has loaded.
NOISE = "dataplane.crypto.noise"
# What the paper says and both planes read, each typed once.
LIMITS = "dataplane.wire.limits"
# Of the shell: what asks the system, a daemon, and the kernel what it has.
MANAGE = {"runtime.base", "runtime.net", "runtime.uapi", "runtime.selfbench.offloads"}
# What a companion gives up, as a daemon does.
MANAGE |= {f"runtime.confine.{name}" for name in ("bpf", "capabilities", "identity", "landlock")}
MAY_IMPORT = {
    "__init__": {"api"},  # when one of its names is used
    "__main__": {"cli"},
    "api": {"api", "manage", *MANAGE, "runtime.daemon", "config", SECRET, *BASE},
    "cli": {"cli", "manage", "runtime", "config", *BASE},
    "manage": {"manage", *MANAGE, "config", SECRET, *BASE},
    "runtime": {"runtime", "core", "config", "_fastpath", SECRET, *BASE},
    "core": {"core", SECRET, MAC_KEYS, NOISE, *BASE},
    "config": {"config", SECRET, *BASE},
    "constants": {LIMITS},
    "errors": set(),
    "dataplane": set(),
}
# What would make the core depend on the time, the network or chance.
IMPURE = {"asyncio", "uvloop", "socket", "select", "selectors", "ssl", "time", "datetime", "random", "secrets", "os"}
IMPURE |= {"logging", "threading", "subprocess", "signal", "pyroute2"}


def _modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _imports(path: Path) -> Iterator[str]:
    """The full names of what a module imports; `from a import b` counts as a.b, so that submodules are seen."""
    own = ("pywg", *path.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(own[: len(own) - node.level]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _allowed(imported: str, layer: str) -> bool:
    inside = imported.removeprefix("pywg.")
    if layer in ("cli", "runtime") and inside == "__version__":
        return True
    return any(inside == target or inside.startswith(f"{target}.") for target in MAY_IMPORT[layer])


def test_every_module_has_a_layer() -> None:
    assert {_name(path).split("/")[0].removesuffix(".py") for path in _modules()} <= MAY_IMPORT.keys()


@pytest.mark.parametrize("path", _modules(), ids=_name)
def test_imports_only_what_lies_below(path: Path) -> None:
    layer = _name(path).split("/")[0].removesuffix(".py")
    ours = [name for name in _imports(path) if name.split(".")[0] == "pywg"]
    assert [name for name in ours if not _allowed(name, layer)] == []


@pytest.mark.parametrize("path", [path for path in _modules() if _name(path).startswith("core/")], ids=_name)
def test_core_has_no_clock_network_or_chance_of_its_own(path: Path) -> None:
    assert {name.split(".")[0] for name in _imports(path)} & IMPURE == set()


def test_no_module_of_the_daemon_uses_pyroute2() -> None:
    """By whatever way: no string of another module than one of the commands' names it, docstrings aside."""
    users = set()
    for path in _modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and str(node.value).split(".")[0] == "pyroute2":
                users.add(_name(path))
        users |= {_name(path) for name in _imports(path) if name.split(".")[0] == "pyroute2"}
    assert users == {"manage/rtnetlink.py"}
    daemons = [path for path in _modules() if _name(path).startswith(("runtime/", "core/"))]
    assert not any(name.startswith("pywg.manage") for path in daemons for name in _imports(path))


WINGS = (("daemon", "selfbench"), ("device", "confine"), ("net", "uapi"), ("base",))
"""The folders of runtime/, the upper ones first. Each knows those below it, and none beside it."""


def _wing(path: Path) -> str:
    return path.relative_to(PACKAGE / "runtime").parts[0]


def _below(wing: str) -> set[str]:
    row = next(row for row, wings in enumerate(WINGS) if wing in wings)
    return {wing, *(below for wings in WINGS[row + 1 :] for below in wings)}


def test_every_module_of_runtime_is_in_a_wing() -> None:
    found = {_wing(path) for path in _modules() if _name(path).startswith("runtime/")}
    assert found == {"__init__.py", *(wing for wings in WINGS for wing in wings)}


@pytest.mark.parametrize("path", [path for path in _modules() if _name(path).startswith("runtime/")], ids=_name)
def test_a_wing_knows_only_those_below_it(path: Path) -> None:
    used = {name.split(".")[2] for name in _imports(path) if name.startswith("pywg.runtime.")}
    assert used <= (_below(_wing(path)) if path.parent.name != "runtime" else set())


OF_LINUX = ("pywg.runtime.net.", "pywg.runtime.confine.")
KNOW_LINUX = {"runtime/daemon/linux.py", *(_name(path) for path in _modules() if "/selfbench/" in _name(path))}
"""The one that chooses what runs the daemon, and the measurement of this machine."""


def test_linux_stands_behind_its_interface() -> None:
    """Core, device and daemon ask base/system.py for what the operating system does.

    The operator's commands are about this system's networks.
    """
    users = {_name(path) for path in _modules() if any(name.startswith(OF_LINUX) for name in _imports(path))}
    inside = {name for name in users if name.startswith(("runtime/net/", "runtime/confine/", "manage/"))}
    assert users - inside <= KNOW_LINUX


def test_the_order_of_wings_is_seen() -> None:
    """Guards the tests above."""
    assert _below("device") == {"device", "net", "uapi", "base"}
    composed = set(_imports(PACKAGE / "runtime" / "daemon" / "linux.py"))
    assert {"pywg.runtime.net.tun.open_tun", "pywg.runtime.confine.sandbox.Sandbox"} <= composed
    assert "pywg.runtime.base.system.Sockets" in set(_imports(PACKAGE / "runtime" / "device" / "device.py"))


def test_the_parser_sees_the_imports_that_are_there() -> None:
    """Guards the tests above: a parser that found nothing would let everything pass."""
    assert "pywg._fastpath.choose_aead" in set(_imports(PACKAGE / "runtime" / "daemon" / "service.py"))
    assert not _allowed("pywg.runtime.device.device", "core")
    assert not _allowed("pywg.dataplane.send.send", "runtime")
