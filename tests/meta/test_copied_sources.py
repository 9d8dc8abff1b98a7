"""Copies of the sources, built with sanitizers: one session of tests may run what another one makes again."""

from pathlib import Path

from tests.sanitizers import ROOT, copy_sources


def test_no_file_is_written_into(tmp_path: Path) -> None:
    copy_sources(tmp_path)
    same, changed = tmp_path / "tests/aead.py", tmp_path / "pywg/errors.py"
    changed.write_text("")
    was_same, was_changed = same.stat(), changed.stat()
    copy_sources(tmp_path)
    assert same.stat() == was_same
    assert changed.stat().st_ino != was_changed.st_ino
    assert changed.read_text() == (ROOT / "pywg/errors.py").read_text()
