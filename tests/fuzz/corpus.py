"""Kept inputs: a text file for each fuzzer in tests/fuzz/corpus, a line in base64 for each input, in order.

A line may end in a name: such an input is a case with a reason, and no merge removes it. Fuzzers and their commands
take files: `unpack` writes each input into one, under its name or its SHA-1, as libFuzzer names them.
"""

import base64
import fcntl
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.fuzz.fuzzer import CACHE, KEPT, ROOT, UNPACKED

SUFFIX = ".txt"


def packed(fuzzer: str) -> Path:
    """The file of a fuzzer's inputs, which may not be there."""
    return ROOT / KEPT / f"{fuzzer}{SUFFIX}"


def kept(fuzzer: str) -> dict[str, bytes]:
    """The kept inputs by name."""
    return parse(packed(fuzzer).read_text()) if packed(fuzzer).exists() else {}


def parse(text: str) -> dict[str, bytes]:
    """The inputs of such a text by name."""
    found = {}
    for line in text.splitlines():
        encoded, _, name = line.partition(" ")
        data = base64.b64decode(encoded, validate=True)
        found[name or sha1(data)] = data
    return found


def form(inputs: Mapping[str, bytes]) -> str:
    """The text. An empty input that has no name is left out: every run begins with it."""
    lines = []
    for name, data in inputs.items():
        encoded = base64.b64encode(data).decode()
        if is_named(name):
            lines.append(f"{encoded} {name}")
        elif data:
            lines.append(encoded)
    return "".join(f"{line}\n" for line in sorted(lines))


def is_named(name: str) -> bool:
    """Whether it is more than a hash."""
    return "-" in name


def unpack(fuzzer: str) -> Path:
    """The folder that has the kept inputs, and nothing else, as files."""
    folder = ROOT / UNPACKED / fuzzer
    folder.mkdir(parents=True, exist_ok=True)
    inputs = kept(fuzzer)
    with (ROOT / CACHE / "kept.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for old in folder.iterdir():
            if old.name not in inputs:
                old.unlink()
        for name, data in inputs.items():
            file = folder / name
            if not file.exists() or file.read_bytes() != data:
                part = folder / f"{name}.part"
                part.write_bytes(data)
                part.rename(file)
    return folder


def pack(fuzzer: str, files: Iterable[Path]) -> tuple[int, int]:
    """From now on the inputs of these files are kept, and those with a name. How many there are, and their bytes."""
    inputs = {name: data for name, data in kept(fuzzer).items() if is_named(name)}
    there = set(inputs.values())
    for file in files:
        data = file.read_bytes()
        if data not in there:
            inputs[sha1(data)] = data
    target = packed(fuzzer)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}")
    part.write_text(form(inputs))
    part.rename(target)
    inputs = kept(fuzzer)
    return len(inputs), sum(map(len, inputs.values()))


def sha1(data: bytes) -> str:
    """What libFuzzer calls a file with this input."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
