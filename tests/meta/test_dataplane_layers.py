"""Who may use whom in the data plane: folders are floors, and arrows point downwards.

A module may use its own folder and the floors below. Folders of one floor know nothing of each other: what is sent
never depends on what is received. Within a folder modules form no circle.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PYWG = Path(__file__).resolve().parents[2] / "pywg"
ROOF = "pywg._fastpath"
FLOORS: list[set[str]] = [
    {"sys"},
    {"wire"},
    {"crypto"},
    {"state", "reorder"},
    {"udp"},
    {"send", "receive"},
    {"threads"},
    {"footprint", "selfbench", "snapshot"},
    {ROOF},
]
EXTERN = {"pywg.dataplane.sys.linux", "pywg.dataplane.sys.libcrypto"}

_FROM = re.compile(r"^\s*from\s+(\.*[\w.]*)\s+c?import\s+(.+)$", re.M)
_PLAIN = re.compile(r"^\s*c?import\s+(.+)$", re.M)
_CONTINUED = re.compile(r"\\\n|\([^)]*\)")


def modules() -> dict[str, list[Path]]:
    """Every native module's files, its .pxd and .pyx, by its full name."""
    found: dict[str, list[Path]] = {}
    for path in [*PYWG.rglob("*.pyx"), *PYWG.rglob("*.pxd")]:
        name = ".".join(path.relative_to(PYWG.parent).with_suffix("").parts)
        if path.stem != "__init__":
            found.setdefault(name, []).append(path)
    return found


def imports(text: str, package: str) -> Iterator[str]:
    """The full names of all that a source text imports or cimports, in whatever form; of names, with the module's."""
    one_line = _CONTINUED.sub(lambda match: re.sub(r"[\\()\s]+", " ", match[0]) if "\n" in match[0] else match[0], text)
    for source, names in _FROM.findall(one_line):
        dots = len(source) - len(source.lstrip("."))
        base = ".".join([*package.split(".")[: len(package.split(".")) + 1 - dots], source[dots:]]) if dots else source
        base = base.rstrip(".")
        for name in re.sub(r"#.*|[()]", "", names).split(","):
            if name.strip():
                yield f"{base}.{name.split()[0]}"
    for names in _PLAIN.findall(one_line):
        yield from (name.split()[0] for name in re.sub(r"#.*", "", names).split(",") if name.strip())


def used_by(name: str, paths: list[Path], known: set[str]) -> set[str]:
    """The native modules that one uses; of ours, what is none of them is returned as it was written."""
    used = set()
    for path in paths:
        for imported in imports(path.read_text(), name.rpartition(".")[0]):
            if imported.split(".")[0] == "pywg":
                module = imported if imported in known else imported.rpartition(".")[0]
                used.add(module if module in known else imported)
    return used - {name}


def graph() -> dict[str, set[str]]:
    """What every native module uses of ours."""
    found = modules()
    return {name: used_by(name, paths, set(found)) for name, paths in found.items()}


def folder(name: str) -> str:
    """Of the data plane; of a module that lies in none, the module; of the roof, its name."""
    return name.removeprefix("pywg.dataplane.").split(".")[0] if name.startswith("pywg.dataplane.") else name


def floor(name: str) -> int:
    """How high up. StopIteration: its folder has no floor yet."""
    return next(number for number, folders in enumerate(FLOORS) if folder(name) in folders)


def upward(uses: dict[str, set[str]]) -> list[str]:
    """The arrows that point upwards, or across a floor."""
    return [
        f"{name} uses {other}"
        for name, used in sorted(uses.items())
        for other in sorted(used)
        if folder(name) != folder(other) and floor(other) >= floor(name)
    ]


def circle(uses: dict[str, set[str]]) -> set[str]:
    """The modules that a circle holds, itself or what uses it; empty: there is none."""
    left = dict(uses)
    while leaves := {name for name, used in left.items() if not used & left.keys()}:
        left = {name: used for name, used in left.items() if name not in leaves}
    return set(left)


def test_every_module_has_a_floor() -> None:
    folders = set().union(*FLOORS)
    assert {folder(name) for name in modules()} == folders


def test_native_code_uses_only_native_code() -> None:
    known = modules().keys()
    assert {name: used - known for name, used in graph().items() if used - known} == {}


def test_arrows_point_downwards() -> None:
    assert upward(graph()) == []


def test_modules_form_no_circle() -> None:
    assert circle(graph()) == set()


def test_extern_declarations_use_nothing_of_ours() -> None:
    assert {name: graph()[name] for name in EXTERN} == {name: set() for name in EXTERN}


def test_send_and_receive_are_seen() -> None:
    """The arrows that are there are read: a parser that found none would let everything pass."""
    uses = graph()
    assert "pywg.dataplane.send.send" in uses["pywg.dataplane.threads.threads"]
    assert "pywg.dataplane.sys.linux" in uses["pywg.dataplane.udp.send"]


@pytest.mark.parametrize(
    "text",
    [
        "from pywg.dataplane.sys cimport linux",
        "from pywg.dataplane.sys cimport clock, linux as of_linux",
        "from pywg.dataplane.sys.linux cimport read",
        "from pywg.dataplane.sys.linux cimport (\n    read,  # of the TUN\n    write,\n)",
        "from pywg.dataplane.sys.linux cimport read, \\\n    write",
        "from pywg.dataplane.sys.linux import NAMES as _NAMES",
        "cimport pywg.dataplane.sys.linux",
        "cimport cython, pywg.dataplane.sys.linux as linux",
        "import pywg.dataplane.sys.linux",
        "    from pywg.dataplane.sys cimport linux  # within a function",
        "from ..sys cimport linux",
        "from ..sys.linux cimport (read, write)",
    ],
)
def test_every_form_of_import_is_seen(text: str) -> None:
    names = set(imports(f'"""Text."""\n{text}\n\ncdef int f()\n', "pywg.dataplane.udp"))
    assert any(name.startswith("pywg.dataplane.sys.linux") for name in names)


@pytest.mark.parametrize(
    ("user", "used"),
    [
        ("wire.run", "crypto.aead"),
        ("send.send", "receive.receive"),
        ("receive.receive", "send.send"),
        ("state.peer", "reorder.reorder"),
    ],
)
def test_a_wrong_arrow_is_found(user: str, used: str) -> None:
    user, used = f"pywg.dataplane.{user}", f"pywg.dataplane.{used}"
    assert upward(graph() | {user: {used}}) == [f"{user} uses {used}"]


def test_a_circle_is_found() -> None:
    uses = graph()
    one, other = "pywg.dataplane.state.activity", "pywg.dataplane.state.events"
    assert other in uses[one]
    assert {one, other} <= circle(uses | {other: uses[other] | {one}})
