"""Archives that are the same, byte by byte, on whatever machine and day they are made: of sources, and of wheels."""

import base64
import gzip
import hashlib
import re
import tarfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

_OLDEST_ZIP = 315532800  # 1980, before which a zip has no time


def pack_sources(tree: Path, target: Path, epoch: int) -> None:
    """Writes the directory `tree` as a .tar.gz. Times are `epoch`, in seconds; names of users are left out."""
    files = sorted((path.relative_to(tree).as_posix(), path) for path in tree.rglob("*") if path.is_file())
    with (
        target.open("wb") as file,
        gzip.GzipFile("", "wb", 9, file, epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, path in files:
            _add(archive, path, f"{tree.name}/{name}", epoch)


def _add(archive: tarfile.TarFile, path: Path, name: str, epoch: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = path.stat().st_size
    member.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    member.mtime = epoch
    with path.open("rb") as file:
        archive.addfile(member, file)


def complete_wheel(
    wheel: Path,
    target: Path,
    *,
    licences: Mapping[str, bytes],
    licence: str,
    bills: Mapping[str, bytes],
    describe: Callable[[str], str],
    epoch: int,
) -> None:
    """Writes the wheel anew, with more licences (by path below `licenses/`), the expression `licence` that is true of
    all of it, bills of materials (by name; PEP 770), and the metadata that `describe` makes of those."""
    with zipfile.ZipFile(wheel) as archive:
        files = {one.filename: (archive.read(one), one.external_attr >> 16 & 0o777) for one in archive.infolist()}
    files = {name: file for name, file in files.items() if not name.endswith("/")}
    (record,) = (name for name in files if re.fullmatch(r"[^/]+\.dist-info/RECORD", name))
    info = record.removesuffix("/RECORD")
    added = {f"{info}/licenses/{name}": text for name, text in licences.items()}
    added |= {f"{info}/sboms/{name}": text for name, text in bills.items()}
    metadata = _metadata(files[f"{info}/METADATA"][0].decode(), list(licences), licence)
    added[f"{info}/METADATA"] = describe(metadata).encode()
    files |= {name: (text, 0o644) for name, text in added.items()}
    del files[record]
    lines = [f"{name},{_digest(text)},{len(text)}\n" for name, (text, _) in sorted(files.items())]
    when = time.gmtime(max(epoch, _OLDEST_ZIP))[:6]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (text, mode) in [
            *sorted(files.items()),
            (record, ("".join([*lines, f"{record},,\n"]).encode(), 0o644)),
        ]:
            entry = zipfile.ZipInfo(name, when)
            entry.external_attr = (0o100000 | (0o755 if mode & 0o100 else 0o644)) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, text, compresslevel=9)


def _metadata(text: str, licences: list[str], licence: str) -> str:
    head, separator, body = text.partition("\n\n")
    lines = [
        f"License-Expression: {licence}" if line.startswith("License-Expression: ") else line
        for line in head.splitlines()
    ]
    assert f"License-Expression: {licence}" in lines
    place = max(number for number, line in enumerate(lines) if line.startswith("License-File: ")) + 1
    lines[place:place] = [f"License-File: {name}" for name in licences]
    return "\n".join(lines) + separator + body


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
