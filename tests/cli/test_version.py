"""`pywg version --verbose`: what this pywg runs on, and from where."""

import importlib.metadata
import platform
import re
import sys
from pathlib import Path

import pytest

import pywg
from pywg.cli.main import main
from pywg.manage import installed


def test_verbose_names_what_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--verbose"]) == 0
    lines = dict(re.split(r" +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["pywg"] == f"{pywg.__version__}  ({Path(pywg.__file__).parent})"
    assert lines["CPython"] == f"{platform.python_version()}  ({sys.executable})"
    for name in ("cryptography", "uvloop", "pyroute2"):
        assert lines[name] == importlib.metadata.version(name)
    assert lines["Linux"].startswith(platform.release())
    assert (Path(lines["documents"]) / "docs" / "two-sites.md").is_file()


def test_documents_that_were_left_out_are_not_promised(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(installed, "CHECKOUT", tmp_path)
    monkeypatch.setattr(installed, "PACKAGED", tmp_path)
    assert main(["version", "--verbose"]) == 0
    assert "\ndocuments     not installed\n" in capsys.readouterr().out


def test_libcrypto_is_the_file_that_is_mapped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "-v"]) == 0
    (line,) = (one for one in capsys.readouterr().out.splitlines() if one.startswith("libcrypto"))
    found = re.fullmatch(r"libcrypto +(OpenSSL \d+\.\S+ .+)  \((/.*)\)", line)
    assert found
    mapped = {Path(one.split()[-1]).resolve() for one in Path("/proc/self/maps").read_text().splitlines() if "/" in one}
    assert Path(found[2]).resolve() in mapped
    assert found[1].encode() in Path(found[2]).read_bytes()
