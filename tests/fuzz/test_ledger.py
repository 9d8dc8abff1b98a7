"""The ledger adds runs up, and the table in docs/security.md is the ledger's."""

from pathlib import Path

import pytest

from tests.fuzz import ledger
from tests.fuzz.guided import TARGETS as GUIDED
from tests.fuzz.native.builds import TARGETS as NATIVE


def test_runs_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "FILE", tmp_path / "ledger.json")
    assert ledger.read() == []
    ledger.add("some", "fast", executions=1_000_000, cpu_seconds=7200.04, found=True)
    ledger.add("other", "python", executions=5, cpu_seconds=1, found=False)
    ledger.add("some", "fast", executions=234_567, cpu_seconds=1800, found=False)
    ledger.add("some", "checked", executions=10, cpu_seconds=0.5, found=False)
    entries = ledger.read()
    assert [(entry.target, entry.build) for entry in entries] == [
        ("other", "python"),
        ("some", "checked"),
        ("some", "fast"),
    ]
    assert (entries[2].executions, entries[2].cpu_seconds, entries[2].found) == (1_234_567, 9000.0, 1)
    assert {entry.commit for entry in entries} == {ledger.commit()}
    assert ledger.executions("some") == 1_234_577
    assert ledger.executions("none") == 0
    assert len((tmp_path / "ledger.json").read_text().splitlines()) == len(entries) + 2
    assert "| some | assertions | 1,234,567 | 2.50 | 1 |\n" in ledger.table(entries)


def test_the_page_has_the_table() -> None:
    text = ledger.PAGE.read_text()
    assert ledger.page(text, ledger.read()) == text, "python -m tests.fuzz.ledger writes it anew"


def test_the_table_alone_is_written_anew() -> None:
    entries = [ledger.Entry("some", "fast", 1, 3600.0, 0)]
    text = f"before\n{ledger.BEGIN}old\n{ledger.END}after\n"
    assert ledger.page(text, entries) == f"before\n{ledger.BEGIN}{ledger.table(entries)}{ledger.END}after\n"


def test_the_ledger_knows_what_there_is() -> None:
    assert {entry.build for entry in ledger.read()} <= ledger.BUILDS.keys()
    assert {entry.target for entry in ledger.read()} <= {*GUIDED, *NATIVE}
