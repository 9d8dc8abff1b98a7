"""What docs/drop-in.md is written from: which tests count, for which daemon, and what a row says of them."""

import os
from pathlib import Path

import pytest

from tests.netns import holds
from tests.netns.holds import Found, Recorder
from tests.netns.points import Row

TESTS = """
import pytest

tries = []

@pytest.mark.dropin("1")
@pytest.mark.parametrize("subject", ["pywg", "other"])
@pytest.mark.parametrize("number", [1, 2])
def test_half(subject, number):
    assert (subject, number) != ("other", 2)

@pytest.mark.dropin("1")
@pytest.mark.parametrize("daemon", ["pywg", "other"])
def test_all(daemon):
    pass

@pytest.mark.dropin("2")
@pytest.mark.parametrize("pair", [("pywg", "pywg"), ("other", "other"), ("pywg", "other")])
def test_pair(pair):
    assert pair != ("pywg", "other")

@pytest.mark.dropin("3")
def test_inside():
    pass

@pytest.mark.dropin("4")
def test_skipped():
    pytest.skip("no such tool")

@pytest.mark.dropin("5")
@pytest.mark.flaky(reruns=1)
def test_second_try():
    tries.append(None)
    assert len(tries) == 2

@pytest.mark.known_bug("Port reported")
@pytest.mark.parametrize("daemon", ["pywg", "other"])
def test_bug(daemon):
    if daemon == "other":
        pytest.xfail("it does that")

def test_of_no_row():
    raise AssertionError
"""
ROWS = tuple(Row(name, f"what {name} is") for name in "12345")
BUGS = (Row("Port reported as 0", "another"),)
PAGE = """\
| point | what | pywg | other | tests |
|---|---|---|---|---|
| 1 | what 1 is | yes | 1 of 2 | test_rows.py |
| 2 | what 2 is | yes | yes | test_rows.py |
| 3 | what 3 is | yes | - | test_rows.py |
| 4 | what 4 is | - | - | none yet |
| 5 | what 5 is | yes | - | test_rows.py |

## Faults that others shipped

| fault | where it was | pywg | other | tests |
|---|---|---|---|---|
| Port reported as 0 | another | yes | 0 of 1 | test_rows.py |

## What pywg does not hold

Nothing that is asked.

## What other does not hold

- test_bug: it does that
- test_half: fails
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """By the test's path and name."""
    folder = tmp_path_factory.mktemp("rows")
    path = folder / "test_rows.py"
    path.write_text(TESTS)
    recorder = Recorder()
    options = ("-q", "-c", os.devnull, "-p", "no:cacheprovider", "-p", "no:faulthandler", "--import-mode=importlib")
    pytest.main([*options, f"--rootdir={folder}", str(path)], [recorder])
    return recorder.found


def test_a_test_counts_for_the_daemon_that_is_at_both_ends(found: dict[str, Found]) -> None:
    of = {node.partition("::")[2]: one for node, one in found.items()}
    assert set(of) == {"test_half", "test_all", "test_pair", "test_inside", "test_second_try", "test_bug"}
    assert {name: set(one.outcomes) for name, one in of.items() if len(one.outcomes) != 2} == {
        "test_inside": {"pywg"},
        "test_second_try": {"pywg"},
    }
    assert {name: one.reasons for name, one in of.items() if one.reasons} == {
        "test_half": {"other": "fails"},
        "test_bug": {"other": "it does that"},
    }
    assert (of["test_half"].points, of["test_half"].bugs) == ({"1"}, set())
    assert (of["test_bug"].points, of["test_bug"].bugs) == (set(), {"Port reported"})


def test_the_page_says_of_each_row_how_many_tests_hold(
    found: dict[str, Found], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "docs" / "drop-in.md"
    monkeypatch.setattr(holds, "DOCUMENT", document)
    monkeypatch.setattr(holds, "POINTS", ROWS)
    monkeypatch.setattr(holds, "KNOWN_BUGS", BUGS)
    monkeypatch.setattr(holds, "find", str)
    monkeypatch.setattr(holds, "version", "the version of {}".format)
    holds.write(["pywg", "other"], found)
    text = document.read_text()
    assert text.startswith(f"{holds.HEADER}- pywg: the version of pywg\n- other: the version of other\n- run on ")
    assert text.endswith(f"\n## Points\n\n{PAGE}{holds.LIMITS}")
