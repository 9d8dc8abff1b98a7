"""What is handed on: archives that are the same whenever they are made, bills of materials, and the locked tools.

`make dist TWICE=1` makes and compares all, and `make deb` the Debian package; both take minutes.
"""

import base64
import csv
import hashlib
import importlib
import io
import json
import os
import re
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from pywg.manage.service_units import UNITS, WRITTEN_FOR
from ship import deb
from ship.archives import complete_wheel, pack_sources
from ship.bill import Library, bill_of
from ship.cross import Cross
from ship.lock import LOCKED, WANTED

ROOT = Path(__file__).resolve().parents[2]
EPOCH = 1_700_000_000
INFO = "pywg_tunnel-1.0.dist-info"
METADATA = "Name: pywg-tunnel\nLicense-Expression: MIT\nLicense-File: LICENSE\nRequires-Dist: x\n\n# pywg\n"
LIBRARY = Library("libssl3", "openssl", "3.0.1-1", "debian-12", "amd64", "Apache-2.0", b"the copyright")


def tree(directory: Path, when: int) -> Path:
    """Sources whose files have this time."""
    for name, mode in (("pywg-1.0/b/run", 0o755), ("pywg-1.0/a.py", 0o644)):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        path.chmod(mode)
        os.utime(path, (when, when))
    return directory / "pywg-1.0"


def test_sources_are_the_same_whenever_they_are_packed(tmp_path: Path) -> None:
    made = []
    for number in (1, 2):
        made.append(tmp_path / f"{number}.tar.gz")
        pack_sources(tree(tmp_path / str(number), EPOCH + number), made[-1], EPOCH)
    assert made[0].read_bytes() == made[1].read_bytes()
    with tarfile.open(made[0]) as archive:
        members = [(one.name, one.mode, one.mtime, one.uid, one.uname) for one in archive]
    assert members == [("pywg-1.0/a.py", 0o644, EPOCH, 0, ""), ("pywg-1.0/b/run", 0o755, EPOCH, 0, "")]


def completed(directory: Path, when: tuple[int, ...]) -> Path:
    """A wheel with a library in it, packed at that time, and completed."""
    raw, made = directory / "raw.whl", directory / "made.whl"
    directory.mkdir()
    with zipfile.ZipFile(raw, "w") as archive:
        for name, text in {
            f"{INFO}/METADATA": METADATA,
            "pywg/__init__.py": "",
            "pywg_tunnel.libs/libcrypto-01234567.so.3": "code",
            f"{INFO}/RECORD": "",
        }.items():
            archive.writestr(zipfile.ZipInfo(name, when), text)  # type: ignore[arg-type]
    complete_wheel(
        raw,
        made,
        licences={"openssl/copyright": b"the copyright"},
        licence="Apache-2.0 AND MIT",
        describe=lambda metadata: metadata.replace("# pywg", "# the page"),
        bills={"pywg.cdx.json": b"{}"},
        epoch=EPOCH,
    )
    return made


def test_a_wheel_has_licences_and_bills(tmp_path: Path) -> None:
    made = completed(tmp_path / "one", (2020, 1, 1, 0, 0, 0))
    with zipfile.ZipFile(made) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
        assert {one.date_time for one in archive.infolist()} == {(2023, 11, 14, 22, 13, 20)}
    metadata = files[f"{INFO}/METADATA"].decode()
    assert (
        "License-Expression: Apache-2.0 AND MIT\nLicense-File: LICENSE\nLicense-File: openssl/copyright\n" in metadata
    )
    assert metadata.endswith("Requires-Dist: x\n\n# the page\n")
    assert files[f"{INFO}/licenses/openssl/copyright"] == b"the copyright"
    assert files[f"{INFO}/sboms/pywg.cdx.json"] == b"{}"
    recorded = {
        name: (digest, size) for name, digest, size in csv.reader(io.StringIO(files[f"{INFO}/RECORD"].decode()))
    }
    assert recorded.keys() == files.keys()
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        assert recorded[name] == (("", "") if name.endswith("/RECORD") else (f"sha256={digest}", str(len(data))))


def test_a_wheel_is_the_same_whenever_it_was_made(tmp_path: Path) -> None:
    made = [completed(tmp_path / str(year), (year, 1, 1, 0, 0, 0)) for year in (2020, 2021)]
    assert made[0].read_bytes() == made[1].read_bytes()


def bill(data: bytes) -> dict[str, object]:
    libraries = {"pywg_tunnel.libs/libcrypto-01234567.so.3": (LIBRARY, data)}
    requires = ["cryptography>=42", "uvloop>=0.19"]
    return bill_of("1.0", epoch=EPOCH, libraries=libraries, tools={"Cython": "3.3.1"}, requires=requires)


def test_a_bill_names_what_is_inside_and_what_is_needed() -> None:
    made = json.loads(json.dumps(bill(b"code")))
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    inside, *needed = made["components"]
    assert inside["purl"] == "pkg:deb/debian/libssl3@3.0.1-1?arch=amd64&distro=debian-12"
    assert inside["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(b"code").hexdigest()}]
    assert [one["purl"] for one in needed] == ["pkg:pypi/cryptography", "pkg:pypi/uvloop"]
    named = {one["bom-ref"] for one in (inside, *needed)}
    assert set(made["dependencies"][0]["dependsOn"]) == named
    assert made["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert bill(b"code") == bill(b"code")
    assert bill(b"code")["serialNumber"] != bill(b"other")["serialNumber"]


def test_the_tools_are_locked() -> None:
    """Each with a version and the digest of a file; what pyproject.toml builds with is among them, and new enough."""
    text = LOCKED.read_text()
    entries = dict(re.findall(r"^(\S+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}", text, re.M))
    assert len(entries) == len(re.findall(r"^\w", text, re.M)) > 10
    wanted = [*WANTED, *tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]]
    for requirement in wanted:
        name, _, least = requirement.partition(">=")
        version = [int(number) for number in entries[name.lower()].split(".")]
        assert version >= [int(number) for number in least.split(".")]


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_names_the_program_by_the_path_that_packages_replace(unit: str) -> None:
    started = re.findall(r"^Exec(?!StartPost)\w+=[+]?(\S+) ", (ROOT / "docs" / "systemd" / unit).read_text(), re.M)
    assert set(started) == {WRITTEN_FOR}
    assert WRITTEN_FOR in (ROOT / "debian" / "rules").read_text()


@pytest.mark.parametrize("unit", UNITS)
def test_the_debian_package_stops_every_unit_before_it_goes(unit: str) -> None:
    (stopped,) = re.findall(r"deb-systemd-invoke stop (.+) >/dev/null", (ROOT / "debian" / "pywg.prerm").read_text())
    assert unit.replace("@.", "@*.") in stopped.replace("'", "").split()


def test_the_debian_package_has_pywgs_version() -> None:
    assert deb.changelog("1.0").startswith("pywg (1.0) trixie; urgency=medium\n\n  * ")
    assert re.fullmatch(r"\d+\.\d+\.\d+", deb.version())


def test_the_version_has_its_changes() -> None:
    """At once, or under Unreleased while it is not released."""
    text = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", text, re.M)
    assert text.count("\n## [Unreleased]\n") == 1
    assert released[:1] == [deb.version()]


def test_a_build_for_another_processor_is_not_of_this_one(tmp_path: Path) -> None:
    (tmp_path / "usr" / "include" / "python3.11").mkdir(parents=True)
    (tmp_path / "packages").mkdir()
    other = Cross("aarch64", tmp_path)
    asked = other.building()
    assert asked["CC"] == f"aarch64-linux-gnu-gcc --sysroot={tmp_path}"
    assert asked["CFLAGS"] == f"-I{tmp_path}/usr/include/python3.11"
    assert asked["_PYTHON_HOST_PLATFORM"] == "linux-aarch64"
    with pytest.raises(SystemExit, match=r"no package .* has libnosuch\.so\.1"):
        other.package_of("libnosuch.so.1")


def test_an_image_is_made_of_sources_alone() -> None:
    """What was built in a checkout stays out, as it does of the history; else a used one gives the image its .venv."""
    kept_out = (ROOT / ".gitignore").read_text().split()
    folders = {line.strip("/") for line in kept_out if line.endswith("/")}
    ignored = {line.removeprefix("**/") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert folders | {".git", "*.so"} <= ignored


@pytest.mark.parametrize("module", ["tests.first_minutes.__main__", "tests.installs.__main__"])
def test_what_makes_a_debian_root_says_in_a_line_that_it_can_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "argv", [module, "deb"])
    with pytest.raises(SystemExit, match=r"^debootstrap is missing: apt-get install debootstrap$"):
        importlib.import_module(module).main()
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    with pytest.raises(SystemExit, match=r"as root$"):
        importlib.import_module(module).main()
