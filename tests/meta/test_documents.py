"""ARCHITECTURE.md and CONTRIBUTING.md against the code: what they name exists, and every limit has the value they say.

The readers' pages (README.md, docs/, bench/README.md) are held to the same paths. Each check is a function of a text,
so that a wrong entry of every kind can be shown to fail.
"""

import ast
import functools
import operator
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.meta.test_dataplane_layers import FLOORS
from tests.meta.test_layers import MAY_IMPORT, WINGS

ROOT = Path(__file__).resolve().parents[2]
BUILDERS = ("ARCHITECTURE.md", "CONTRIBUTING.md")
READERS = (
    "README.md",
    "docs/drop-in.md",
    "docs/performance.md",
    "docs/how-it-works.md",
    "docs/uapi.md",
    "docs/environment.md",
    "docs/releasing.md",
    "docs/beside.md",
    "docs/security.md",
    "docs/python.md",
    "SECURITY.md",
    "docs/systemd/README.md",
    "bench/README.md",
)
PICTURE = "docs/architecture.svg"
PLANES = ("docs/plane-control.svg", "docs/plane-out.svg", "docs/plane-in.svg")

TOP = ("pywg", "tests", "bench", "docs", ".ci", "ship", "debian")
SUFFIXES = (".py", ".pyx", ".pxd", ".pyi", ".h", ".inc", ".md", ".toml", ".svg")
PICTURE_BASES = ("", "pywg", "pywg/runtime", "pywg/dataplane")
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "s": 1, "ms": 1, "ns": 1}
LIMIT_NAME = re.compile(r"(^|_)(MAX|MOST|LIMIT|BURST)(_|$)|PER_(SECOND|PEER)")
OPERATORS: dict[type[ast.operator], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
}
MACRO = re.compile(r"^\s*#define PYWG_([A-Z0-9_]+) (\(.+\))$", re.M)
CONSTANT = re.compile(r"^\s*(_?[A-Z][A-Z0-9_]*)(?:: [\w\[\], ]+)? = ([^#\n]+)", re.M)


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def quoted(text: str) -> Iterator[str]:
    """What a page shows as code: between backticks, and in indented blocks."""
    yield from re.findall(r"`([^`\n]+)`", text)
    yield from (line.partition(" #")[0] for line in re.findall(r"^    (.+)$", text, re.M))


def words(text: str) -> Iterator[str]:
    for code in quoted(text):
        yield from filter(None, re.split(r"[\s\"',;()=]+", code))


# ---- paths


def paths(text: str) -> set[str]:
    """Paths of this repository that a page names, links included."""
    named = {word for word in words(text) if word.split("/")[0] in TOP and "/" in word}
    named |= {word for word in words(text) if "/" not in word and word.endswith(SUFFIXES)}
    return named | {target.partition("#")[0] for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text)}


def missing(names: set[str], *bases: str) -> set[str]:
    """Those that are nowhere below the bases. A name that ends with / is a folder's, and * may stand for anything."""
    return {name for name in names if not any(exists(f"{base}/{name}" if base else name) for base in bases)}


def exists(name: str) -> bool:
    return any(found.is_dir() or not name.endswith("/") for found in ROOT.glob(name.partition("::")[0]))


@pytest.mark.parametrize("name", [*BUILDERS, *READERS])
def test_every_path_that_a_page_names_exists(name: str) -> None:
    assert missing(paths(text_of(name)), "", str(Path(name).parent)) == set()


def test_a_path_that_is_not_there_is_found() -> None:
    text = "`pywg/nosuch.py`, `pywg/cli/`, `pywg/errors.py/`, `nosuch.md`, [there](docs/nosuch.md), `pywg/*.nosuch`\n\n"
    text += "    make test TESTS=tests/nosuch\n"
    wrong = {"pywg/nosuch.py", "pywg/errors.py/", "nosuch.md", "docs/nosuch.md", "pywg/*.nosuch", "tests/nosuch"}
    assert missing(paths(text), "") == wrong


# ---- words of the program


def unsaid(text: str, code: str) -> set[str]:
    """Messages that a table of symptoms quotes and that no code has: what stands between names and dots."""
    quotes = [quote for cell in re.findall(r"^\| ([^|]*)", text, re.M) for quote in re.findall(r'"([^"]+)"', cell)]
    said = re.sub(r"\s+", " ", re.sub(r'"\s*\n\s*f?"', "", code))
    parts = {quote: [part.strip() for part in re.split(r"wg0|\.\.\.", quote)] for quote in quotes}
    return {quote for quote, words in parts.items() if any(part not in said for part in words)}


@pytest.mark.parametrize("name", ["docs/upgrading.md", "docs/troubleshooting.md"])
def test_messages_that_a_page_quotes_are_the_programs(name: str) -> None:
    assert '\n| "' in text_of(name)
    assert unsaid(text_of(name), program()) == set()


def program() -> str:
    return "\n".join(path.read_text() for path in (ROOT / "pywg").rglob("*.py"))


def test_a_message_that_nothing_says_is_found() -> None:
    code = 'f"the daemon speaks {form} of the "\n    f"handover: it goes on"'
    assert unsaid('| "speaks ... of the handover" | x |\n| a "daemon lies", "it goes on" | x |', code) == {
        "daemon lies"
    }


# ---- where things are

FOUND = {
    "the loops of the sending and of the receiving thread": ("send_thread(", "receive_thread("),
    "the replay window": ("struct ReplayWindow", "replay_accept("),
    "the check of the inner source (cryptokey routing)": ("rx_source_not_allowed",),
    "where counters are reserved, packets sealed": ("next_counter, counter", "seal_batch("),
    "which handshake messages pass, cookies, the rate limit": ("mac1_holds(", "mac2_holds(", "ratelimiter_take("),
    "the ciphers, and how one is added": ('"avx512"',),
    "log lines about handshakes": ("no answer from",),
    "the allowed system calls (seccomp)": ('"recvmmsg": _R',),
}
"""What a stranger looks for first, as the table calls it, and what is written in one of the files beside it."""


def not_there(text: str) -> set[str]:
    """Entries of the table that do not lead to what they promise."""
    rows: dict[str, str] = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, re.M))
    lead = {looked_for: [name for name in paths(rows.get(looked_for, "")) if exists(name)] for looked_for in FOUND}
    return {
        looked_for
        for looked_for, written in FOUND.items()
        if not all(any(words in text_of(name) for name in lead[looked_for]) for words in written)
    }


def test_what_a_stranger_looks_for_is_where_the_table_says() -> None:
    assert not_there(text_of("ARCHITECTURE.md")) == set()


def test_an_entry_that_leads_elsewhere_is_found() -> None:
    text = text_of("ARCHITECTURE.md").replace(
        "`pywg/dataplane/threads/loops.pyx` |", "`pywg/dataplane/send/send.pyx` |"
    )
    assert not_there(text) == {"the loops of the sending and of the receiving thread"}
    assert not_there("") == FOUND.keys()


# ---- names


@functools.cache
def sources() -> str:
    """All code of this repository but this file."""
    kinds = ("*.py", "*.pyx", "*.pxd", "*.h", "*.inc", "*.c")
    files = [path for top in ("pywg", "tests", "bench") for kind in kinds for path in (ROOT / top).rglob(kind)]
    files += [ROOT / "setup.py", ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci/packages"]
    return "\n".join(path.read_text() for path in files if path != Path(__file__).resolve())


@functools.cache
def known_names() -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+|\w+", sources()))


def unknown_names(text: str) -> set[str]:
    """Identifiers, options, targets of make and modules to be run that occur nowhere in the code."""
    named: set[str] = set()
    for code in re.findall(r"`([^`\n]+)`", text):
        if re.fullmatch(r"_?[A-Za-z]\w*(\.\w+)*", code) and not code.endswith(SUFFIXES):
            named |= set(code.split("."))
    named |= set(re.findall(r"`(--[a-z][a-z-]+)", text))
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.M))
    called = {word for code in quoted(text) for word in re.findall(r"\bmake ([a-z-]+)", code)}
    run = {word for code in quoted(text) for word in re.findall(r"-m ((?:tests|bench)[\w.]+)", code)}
    modules = {word for word in run if not exists(word.replace(".", "/") + "*")}
    return {name for name in named if name not in known_names()} | (called - targets) | modules


@pytest.mark.parametrize("name", BUILDERS)
def test_every_name_that_a_page_shows_as_code_is_in_the_code(name: str) -> None:
    assert unknown_names(text_of(name)) == set()


def test_a_name_that_is_not_in_the_code_is_found() -> None:
    text = "`no_such_name`, `Plane.no_such_method`, `--no-such-option N`, `make no-such-target`, `-m tests.nosuch`"
    wrong = {"no_such_name", "no_such_method", "--no-such-option", "no-such-target", "tests.nosuch"}
    assert unknown_names(text) == wrong
    assert unknown_names("`Plane.drain`, `--threads 2`, `make lint`, `python -m tests.fuzz`, `PYWG_AEAD`") == set()


# ---- folders


def floors(text: str) -> dict[str, int]:
    """The floor of each folder that has a line of its own in one of the tables of folders."""
    rows: list[tuple[str, str]] = re.findall(r"^\| `(pywg/[\w/]+/)` \| (\d) \| \S", text, re.M)
    return {folder: int(floor) for folder, floor in rows}


def folders() -> set[str]:
    files = [path for kind in ("*.py", "*.pyx", "*.pxd", "*.h") for path in (ROOT / "pywg").rglob(kind)]
    return {f"{path.parent.relative_to(ROOT)}/" for path in files} - {"pywg/"}


def wrong_floors(text: str) -> set[str]:
    """Folders that stand on another floor than the tests of layers have them, or on none."""
    shown = floors(text)
    real = {f"pywg/runtime/{name}/": floor for floor, names in enumerate(reversed(WINGS), 1) for name in names}
    real |= {f"pywg/dataplane/{name}/": floor for floor, names in enumerate(FLOORS, 1) for name in names}
    wrong = {folder for folder in real.keys() & folders() if shown.get(folder) != real[folder]}
    for upper, used in MAY_IMPORT.items():
        below = {f"pywg/{lower}/" for lower in used - {upper}} & shown.keys()
        wrong |= {folder for folder in below if shown[folder] >= shown.get(f"pywg/{upper}/", 9)}
    return wrong


def test_every_folder_has_a_line() -> None:
    assert floors(text_of("ARCHITECTURE.md")).keys() == folders()


def test_every_folder_is_on_its_floor() -> None:
    assert wrong_floors(text_of("ARCHITECTURE.md")) == set()


def test_a_wrong_floor_and_a_folder_without_a_line_are_found() -> None:
    text = text_of("ARCHITECTURE.md")
    assert folders() - floors(text.replace("| `pywg/core/` | 2 |", "| core | 2 |")).keys() == {"pywg/core/"}
    assert wrong_floors(text.replace("| `pywg/core/` | 2 |", "| `pywg/core/` | 3 |")) == {"pywg/core/"}
    assert wrong_floors(text.replace("| `pywg/runtime/net/` | 2 |", "| `pywg/runtime/net/` | 1 |")) == {
        "pywg/runtime/net/"
    }
    assert wrong_floors(text.replace("`pywg/dataplane/udp/` | 5 |", "`pywg/dataplane/udp/` | 4 |")) == {
        "pywg/dataplane/udp/"
    }


# ---- limits


@functools.cache
def constants(name: str) -> dict[str, str]:
    """The constants that one source file types, as expressions: of Python, of enums of Cython, and of C's macros."""
    found = {one[1]: one[2].strip() for one in CONSTANT.finditer(text_of(name))}
    found |= {one[1]: re.sub(r"UINT64_C\b", "int", one[2]) for one in MACRO.finditer(text_of(name))}
    return {name: typed for name, typed in found.items() if not typed.startswith("limits.")}


@functools.cache
def all_constants() -> dict[str, dict[str, str]]:
    kinds = ("*.py", "*.pyx", "*.pxd")
    files = [path for kind in kinds for path in (ROOT / "pywg").rglob(kind)]
    return {str(path.relative_to(ROOT)): constants(str(path.relative_to(ROOT))) for path in sorted(files)}


def evaluated(expression: str, named: Callable[[str], float]) -> float:
    """The value of an expression of numbers; `named` gives that of a name in it."""

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            return node.value
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "int":
            return int(value(node.args[0]))
        assert isinstance(node, ast.Name), f"{expression}: {ast.dump(node)}"
        return named(node.id)

    return value(ast.parse(expression, mode="eval").body)


def value_of(file: str, name: str) -> float:
    """The value of a constant, wherever it is typed if not in this file. StopIteration: nowhere."""
    if name == "UINT64_MAX":
        return 2**64 - 1
    home = next(home for home in (file, *all_constants()) if name in constants(home))
    return evaluated(constants(home)[name], functools.partial(value_of, home))


def limits(text: str) -> list[tuple[str, str, str]]:
    """(constant, value, file) of each row of the table of limits."""
    section = text.partition("\n## Limits\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \| ([^|]+) \| `([^`]+)` \| \S", section, re.M)


def number(text: str) -> float:
    """A value as the table writes it: 4,096 or 64 KiB or 2^32-1 or 0.1 s."""
    amount, _, unit = text.partition(" ")
    return evaluated(amount.replace(",", "").replace("^", "**"), float) * UNITS[unit]


def wrong_limits(text: str) -> set[str]:
    wrong = set()
    for name, value, file in limits(text):
        if not exists(file) or name not in constants(file) or value_of(file, name) != number(value):
            wrong.add(name)
    return wrong


def unlisted_limits(text: str) -> set[str]:
    """Constants that are limits by their names, and not in the table."""
    listed = {(name, file) for name, _, file in limits(text)}
    return {
        f"{file}: {name}"
        for file, there in all_constants().items()
        for name in there
        if LIMIT_NAME.search(name) and (name, file) not in listed
    }


def test_every_limit_is_what_the_table_says() -> None:
    assert len(limits(text_of("ARCHITECTURE.md"))) > 50
    assert wrong_limits(text_of("ARCHITECTURE.md")) == set()


def test_every_limit_is_in_the_table() -> None:
    assert unlisted_limits(text_of("ARCHITECTURE.md")) == set()


def test_a_wrong_limit_is_found() -> None:
    text = text_of("ARCHITECTURE.md")
    name, value, file = limits(text)[0]
    row = f"| `{name}` | {value} | `{file}` |"
    assert text.count(row) == 1
    assert wrong_limits(text.replace(row, f"| `{name}` | {number(value) + 1:.0f} | `{file}` |")) == {name}
    assert wrong_limits(text.replace(row, f"| `NO_{name}` | {value} | `{file}` |")) == {f"NO_{name}"}
    assert wrong_limits(text.replace(row, f"| `{name}` | {value} | `pywg/nosuch.py` |")) == {name}
    name, value, file = next(one for one in limits(text) if LIMIT_NAME.search(one[0]))
    assert f"{file}: {name}" not in unlisted_limits(text)
    assert f"{file}: {name}" in unlisted_limits(text.replace(f"| `{name}` | {value} | `{file}`", "| gone | "))


@pytest.mark.parametrize(("text", "value"), [("4,096", 4096), ("64 KiB", 65536), ("2^8-1", 255), ("0.1 s", 0.1)])
def test_numbers_are_read_as_the_table_writes_them(text: str, value: float) -> None:
    assert number(text) == value


# ---- glossary


def wrong_terms(text: str) -> set[str]:
    """Terms of the glossary that the file beside them does not have."""
    section = text.partition("\n## Glossary\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\w ,-]+?) \| [^|]+ \| `([^`]+)` \|$", section, re.M)
    assert len(rows) == section.count("\n|") - 2 or not rows, "a row that can't be read"
    return {
        term
        for terms, file in rows
        for term in terms.split(", ")
        if not exists(file) or not re.search(re.sub(r"[ -]", r"[\\s_-]+", term), text_of(file), re.I)
    }


def test_every_term_is_in_the_file_beside_it() -> None:
    assert "| gate |" in text_of("ARCHITECTURE.md")
    assert wrong_terms(text_of("ARCHITECTURE.md")) == set()


def test_a_term_that_the_code_does_not_have_is_found() -> None:
    head = "\n## Glossary\n\n| term | meaning | in |\n|---|---|---|\n"
    good = "| gate | a lock | `pywg/dataplane/state/gate.pxd` |\n"
    assert wrong_terms(head + good) == set()
    assert wrong_terms(head + good.replace("| gate", "| gate, portcullis")) == {"portcullis"}
    assert wrong_terms(head + good.replace("gate.pxd", "nosuch.pxd")) == {"gate"}


# ---- the pictures


def files_shown(svg: str) -> set[str]:
    shown = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return {word for text in shown for word in re.findall(r"[\w./]+", text) if word.endswith((*SUFFIXES, "/"))}


def functions_shown(svg: str) -> list[tuple[str, str]]:
    """(file, function) of each box: the file stands in it first."""
    found, file = [], ""
    for kind, text in re.findall(r"<text class=\"(\w+)\"[^>]*>([^<]*)</text>", svg):
        file = text if kind == "file" else file
        found += [(file, name) for name in re.findall(r"(\w+)\(\)", text)]
    return found


def not_in_their_files(shown: list[tuple[str, str]]) -> set[str]:
    """Functions that the file beside them does not define."""
    return {name for file, name in shown if not re.search(rf"^[ \w*]*\b{name}\(", _of_picture(file), re.M)}


def _of_picture(file: str) -> str:
    """Its text, and that of the declarations beside it."""
    (path,) = (Path(base) / file for base in PICTURE_BASES if exists(f"{base}/{file}" if base else file))
    return "\n".join(
        text_of(str(path.with_suffix(end))) for end in (".py", ".pyx", ".pxd") if exists(str(path.with_suffix(end)))
    )


@pytest.mark.parametrize("name", [PICTURE, *PLANES])
def test_every_file_in_a_picture_exists(name: str) -> None:
    shown = files_shown(text_of(name))
    assert len(shown) > 8
    assert missing(shown, *PICTURE_BASES) == set()


@pytest.mark.parametrize("name", PLANES)
def test_every_function_in_a_picture_is_in_its_file(name: str) -> None:
    shown = functions_shown(text_of(name))
    assert len(shown) > 3
    assert not_in_their_files(shown) == set()


def test_a_file_that_is_only_in_the_picture_is_found() -> None:
    picture = text_of(PICTURE).replace(">core/tunnel.py<", ">core/nosuch.py<").replace(">state/<", ">nosuch/<")
    assert "_fastpath.pyx" in {Path(name).name for name in files_shown(picture)}
    assert missing(files_shown(picture), *PICTURE_BASES) == {"core/nosuch.py", "nosuch/"}


def test_a_function_that_is_only_in_a_picture_is_found() -> None:
    picture = text_of(PLANES[1]).replace("segment_cut()", "no_such_cut()").replace("udp_flush()", "outbound()")
    assert not_in_their_files(functions_shown(picture)) == {"no_such_cut", "outbound"}
