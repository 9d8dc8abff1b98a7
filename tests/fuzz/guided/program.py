"""python -m tests.fuzz.guided.program TARGET [libFuzzer's options] [FOLDER...]: one target under libFuzzer.

With --planted=FAULT it has that one of planted.py, in all that it runs.
Nothing of pywg may be imported before atheris has its hook in place: it sees only what is imported then.
"""

import contextlib
import importlib
import sys
from pathlib import Path

import atheris

from tests.fuzz.fuzzer import ROOT
from tests.fuzz.guided import TARGETS
from tests.fuzz.guided.planted import planted

MODULE = "tests.fuzz.guided.program"
DICTIONARIES = ROOT / ".cache/fuzz/dictionaries"


def main(arguments: list[str]) -> None:
    name, *options = arguments
    with atheris.instrument_imports(include=list(TARGETS[name].guides)):
        target = importlib.import_module(f"tests.fuzz.guided.targets.{name}")
    tokens = getattr(target, "TOKENS", ())
    if tokens:
        options.insert(0, f"-dict={write_dictionary(name, tokens)}")
    itself = f"{sys.executable} -m {MODULE} {name}"  # for a shell: a merge starts it again
    faults = [option.partition("=")[2] for option in options if option.startswith("--planted=")]
    with contextlib.ExitStack() as stack:
        for fault in faults:
            stack.enter_context(planted(fault))
        atheris.Setup([itself, *options], target.run)
        atheris.Fuzz()


def write_dictionary(name: str, tokens: tuple[bytes, ...]) -> Path:
    """What mutations may put in, in a file of libFuzzer's form."""
    DICTIONARIES.mkdir(parents=True, exist_ok=True)
    file = DICTIONARIES / name
    file.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n' for token in tokens))
    return file


if __name__ == "__main__":
    main(sys.argv[1:])
