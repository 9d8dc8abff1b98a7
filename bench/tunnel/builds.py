"""Builds what the bench compares with and no distribution has: each once, below .cache, from its public registry."""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .command import CommandError, run

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
GO_BIN = CACHE / "go-bin"
CARGO = CACHE / "cargo"
NULL_CIPHER = CACHE / "null-cipher"
SHORT_LIVED = CACHE / "short-lived"
NEWEST_GO_MODULE = "golang.zx2c4.com/wireguard@latest"
TAILSCALE_MODULE = "github.com/tailscale/wireguard-go@v0.0.0-20260928213032-417aef361226"
"""What tailscale.com v1.104.5 is made of; the fork has no releases, and its branches can't be asked for."""
FORWARDER = CACHE / "forwarder"
_KERNELS = ROOT / "pywg" / "dataplane" / "crypto"
BUILD_WITHIN_S = 1800.0
GO_BESIDES = "/usr/local/go/bin"  # where Go is installed beside the distribution's

_PACKAGED = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
_IN_PLACE = (sys.executable, "setup.py", "-q", "build_ext", "--inplace")
_LIMITS = "pywg/dataplane/wire/limits.pxd"
_SHORT = {
    "REKEY_AFTER_TIME": (120, 3),
    "REJECT_AFTER_TIME": (180, 9),
    "REKEY_TIMEOUT": (5, 1),
    "KEEPALIVE_TIMEOUT": (10, 2),
}
"""Seconds of the paper, and those of the build whose keys live short."""
_STAMP = NULL_CIPHER / ".sources"
_CHOICE = "aead_select"  # the module that the cipher is left out of
_IS_NULL = "from pywg._fastpath import available_aeads as known; assert known() == ('none',), 'this build encrypts'"


class NotInstalledError(CommandError):
    """A daemon is not there; the message says how to get it."""


def go_module(what: str, module: str, program: str) -> None:
    """A program from the Go modules. NotInstalledError without Go."""
    if (GO_BIN / program).exists():
        return
    go = _compiler("go", GO_BESIDES, what, "apt-get install golang")
    _build(what, [go, "install", module], GOBIN=str(GO_BIN))


def forwarder() -> None:
    """The bare forwarder, from its one file and the cipher's. NotInstalledError without a C compiler."""
    source = Path(__file__).with_name("forwarder.c")
    of = [source, *(_KERNELS / "chacha20poly1305").iterdir()]
    if FORWARDER.exists() and FORWARDER.stat().st_mtime >= max(one.stat().st_mtime for one in of):
        return
    cc = _compiler("cc", "/usr/bin", "the bare forwarder", "apt-get install gcc")
    FORWARDER.parent.mkdir(parents=True, exist_ok=True)
    flags = ["-O3", "-march=native", "-DNDEBUG", "-pthread", f"-I{_KERNELS}"]
    _build("the bare forwarder", [cc, *flags, str(source), "-o", str(FORWARDER)])


def crate(name: str, program: str) -> None:
    """The newest `name` from crates.io. NotInstalledError without cargo, or with one too old for the crate."""
    if (CARGO / "bin" / program).exists():
        return
    home = str(Path.home() / ".cargo" / "bin")
    cargo = _compiler("cargo", home, name, "apt-get install cargo, or rustup where that is too old")
    _build(name, [cargo, "install", "--quiet", "--locked", "--root", str(CARGO), name])


def null_cipher_daemon() -> None:
    """pywg with the cipher left out (PYWG_NULL_CIPHER of setup.py), from a copy of the sources as they are now.

    What is built here and up to date is copied, too: all but one module is the same.
    """
    if null_cipher_is_current():
        return
    _copy_sources(NULL_CIPHER)
    but = shutil.ignore_patterns(f"{_CHOICE}.*.so")
    for built, target in [("cython", "cython"), ("lib.*", "null-cipher")]:
        for directory in (ROOT / "build").glob(built):
            shutil.copytree(directory, NULL_CIPHER / "build" / target, ignore=but, dirs_exist_ok=True)
    there = {**os.environ, "PYTHONPATH": str(NULL_CIPHER)}
    try:
        run(*_IN_PLACE, timeout=BUILD_WITHIN_S, cwd=NULL_CIPHER, env={**os.environ, "PYWG_NULL_CIPHER": "1"})
        run(sys.executable, "-P", "-c", _IS_NULL, env=there, cwd=NULL_CIPHER)
    except CommandError as error:
        raise NotInstalledError(f"the build without a cipher is missing from this run: {error}") from error
    _STAMP.write_text(_sources())


def short_lived_daemon() -> None:
    """pywg with keys that live for seconds, from a copy of the sources as they are now."""
    stamp = SHORT_LIVED / ".sources"
    if stamp.exists() and stamp.read_text() == _sources():
        return
    _copy_sources(SHORT_LIVED)
    limits = (SHORT_LIVED / _LIMITS).read_text()
    for name, (paper, short) in _SHORT.items():
        assert limits.count(f" {name} = {paper}\n") == 1, name
        limits = limits.replace(f" {name} = {paper}\n", f" {name} = {short}\n")
    (SHORT_LIVED / _LIMITS).write_text(limits)
    try:
        run(*_IN_PLACE, timeout=BUILD_WITHIN_S, cwd=SHORT_LIVED)
    except CommandError as error:
        raise NotInstalledError(f"the build with short-lived keys is missing from this run: {error}") from error
    stamp.write_text(_sources())


def null_cipher_is_current() -> bool:
    """Whether the build without a cipher is there, and made of the sources as they are now."""
    return _STAMP.exists() and _STAMP.read_text() == _sources()


def _copy_sources(target: Path) -> None:
    """What a build needs, and nothing that was built, in place of what was in `target`."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "pywg", target / "pywg", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in _PACKAGED:
        shutil.copy2(ROOT / name, target)


def _sources() -> str:
    """A digest of all that the build without a cipher is made of."""
    digest = hashlib.sha256((ROOT / "setup.py").read_bytes())
    for path in sorted((ROOT / "pywg").rglob("*")):
        if path.is_file() and path.suffix not in {".so", ".pyc"}:
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _compiler(program: str, besides: str, what: str, how: str) -> str:
    if found := shutil.which(program) or shutil.which(program, path=besides):
        return found
    raise NotInstalledError(f"{what} is missing from this run: {program} is not installed ({how})")


def _build(what: str, argv: list[str], **env: str) -> None:
    print(f"bench: building {what} ...", flush=True)
    try:
        run(*argv, timeout=BUILD_WITHIN_S, env={**os.environ, **env})
    except CommandError as error:
        raise NotInstalledError(f"{what} is missing from this run: {error}") from error


BUILDERS: dict[str, Callable[[], None]] = {
    "no-cipher": null_cipher_daemon,
    "pywg-short-lived": short_lived_daemon,
    "wireguard-go-new": partial(go_module, "the newest wireguard-go", NEWEST_GO_MODULE, "wireguard"),
    "tailscale": partial(go_module, "tailscale's wireguard-go", TAILSCALE_MODULE, "wireguard-go"),
    "forwarder": forwarder,
    "forwarder-cuts": forwarder,
    "forwarder-seals": forwarder,
    "boringtun": partial(crate, "boringtun-cli", "boringtun-cli"),
    "gotatun": partial(crate, "gotatun-cli", "gotatun"),
}
