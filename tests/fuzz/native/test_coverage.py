"""A line that no input reaches needs a reason, and each reason is for something that there is."""

import fnmatch

import pytest

from tests.fuzz.native.coverage import REASONS, Covered, nogil_lines, report, unexplained
from tests.fuzz.native.lines import NAMED, SECTIONS, name_helpers
from tests.sanitizers import ROOT

SOURCES = {
    str(path.relative_to(ROOT)): set(nogil_lines(path.read_text()).values())
    for suffix in ("pyx", "pxd")
    for path in (ROOT / "pywg").rglob(f"*.{suffix}")
}


def test_a_line_without_a_reason_is_told() -> None:
    reached = Covered("pywg/dataplane/send/seal.pyx", {5: "one", 6: "one"}, {5, 6})
    missed = Covered("pywg/dataplane/send/send.pyx", {7: "other", 8: "ready"}, set())
    assert unexplained([reached, missed]) == ["pywg/dataplane/send/send.pyx:7 other"]
    assert "other: 7: NO REASON" in report([reached, missed])
    assert "50.0 % of 4 lines reached; 1 of 2 others have a reason" in report([reached, missed])


def test_each_reason_is_for_a_function_that_there_is() -> None:
    for line in REASONS.read_text().splitlines():
        if line and not line.startswith("#"):
            files, functions, why = line.split(maxsplit=2)
            its = {name for path, names in SOURCES.items() if fnmatch.fnmatch(path, files) for name in names}
            assert fnmatch.filter(its, functions), f"no function {functions} in {files}: {why}"


def test_the_helpers_of_cython_are_no_lines_of_a_module() -> None:
    first, second = (f"/* #### Code section: {section} ### */\n" for section in SECTIONS)
    text = f"the module\n{first}import\n{second}constants\n"
    named = name_helpers(text)
    assert named == f"the module\n{NAMED}{first}import\n{NAMED}{second}constants\n"
    assert name_helpers(named) == named
    with pytest.raises(SystemExit):
        name_helpers("another Cython's C")
