"""Kept inputs are lines of text in an order that depends on nothing else, and files where a program needs those."""

from pathlib import Path

import pytest

from tests.fuzz import corpus
from tests.fuzz.fuzzer import KEPT, ROOT
from tests.fuzz.guided import TARGETS as GUIDED
from tests.fuzz.native.builds import TARGETS as NATIVE

FILES = sorted((ROOT / KEPT).iterdir())


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir()
    for name, place in (("KEPT", "kept"), ("UNPACKED", "cache/unpacked"), ("CACHE", "cache")):
        monkeypatch.setattr(corpus, name, Path(tmp_path, place))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_is_as_it_is_written(file: Path) -> None:
    assert corpus.form(corpus.parse(file.read_text())) == file.read_text()


def test_each_file_is_that_of_a_target() -> None:
    assert [file.name for file in FILES] == sorted(f"{name}{corpus.SUFFIX}" for name in (*GUIDED, *NATIVE))


@pytest.mark.usefixtures("_elsewhere")
def test_packed_and_unpacked_again(tmp_path: Path) -> None:
    inputs = {"a-case": b"", "another-case": b"two", corpus.sha1(b"\0\xff"): b"\0\xff"}
    corpus.packed("some").parent.mkdir()
    corpus.packed("some").write_text(corpus.form(inputs))
    assert corpus.kept("some") == inputs
    assert {file.name: file.read_bytes() for file in corpus.unpack("some").iterdir()} == inputs

    new = [tmp_path / name for name in ("three", "two", "empty")]
    for file, data in zip(new, (b"three", b"two", b""), strict=True):
        file.write_bytes(data)
    assert corpus.pack("some", new) == (3, 8)
    left = {"a-case": b"", "another-case": b"two", corpus.sha1(b"three"): b"three"}
    assert corpus.kept("some") == left
    assert {file.name: file.read_bytes() for file in corpus.unpack("some").iterdir()} == left
    assert corpus.packed("some").read_text() == " a-case\ndGhyZWU=\ndHdv another-case\n"


@pytest.mark.usefixtures("_elsewhere")
def test_a_target_without_inputs() -> None:
    assert corpus.kept("none") == {}
    assert list(corpus.unpack("none").iterdir()) == []
