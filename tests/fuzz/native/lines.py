"""setup.py for the build that coverage.py reads: Cython's own C, behind a module's, has a file of its own in it.

Without that the compiler counts on in it from the last line of the .pyx that it was told: what runs when a module is
imported would stand for lines that nothing has run, and what never runs for lines that are no code.
"""

import sys
from pathlib import Path

from setuptools import Extension
from setuptools import setup as run

import setup as package

NAMED = '#line 1 "helpers of Cython"\n'
SECTIONS = ("module_exttypes", "pystring_table")
"""Where it begins, and begins again behind the module's own statements."""


def name_helpers(text: str) -> str:
    """The C with that file named, once."""
    if NAMED in text:
        return text
    for section in SECTIONS:
        before, begins, behind = text.partition(f"/* #### Code section: {section} ### */\n")
        if not begins:
            raise SystemExit(f"Cython's C has no section {section}: where does its own code begin?")
        text = before + NAMED + begins + behind
    return text


def translate(modules: list[Extension], directory: Path = package.TRANSLATED) -> list[Extension]:
    """As setup.py does."""
    translated = translated_by_setup(modules, directory)
    for ext in translated:
        file = Path(ext.sources[0])
        text = file.read_text()
        if (named := name_helpers(text)) != text:
            file.write_text(named)
    return translated


if __name__ == "__main__":
    translated_by_setup = package.cython
    package.cython = translate
    run(script_args=sys.argv[1:], ext_modules=package.extensions(), cmdclass={"build_ext": package.BuildExt})
