"""The wheel for aarch64, under an emulator of that processor: known answers, the protocol, and a tunnel.

qemu-aarch64-static runs Debian's Python for that processor (ship/cross.py has it). It knows no seccomp and no Landlock,
so the sandbox is not tried; nor says it anything about speed. The daemons are real: TUN, UDP sockets and netlink are
this machine's kernel's.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench.tunnel.namespace import Namespace
from bench.tunnel.site import poll
from ship.cross import Cross, cross, python_of
from ship.run import ROOT, run
from tests import packages
from tests.first_minutes import debian
from tests.first_minutes.__main__ import FAR, NEAR
from tests.installs.story import newest

PROCESSOR = "aarch64"
FROM_INDEX = ("cryptography", "uvloop", "pyroute2", "pytest", "pytest-timeout", "hypothesis", "noiseprotocol")
FOR_COLLECTION = ("Cython", "setuptools")
PLATFORMS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
NOT_THERE = {"tests/native/definedness.pyx"}
"""It asks valgrind, which has no headers for another processor."""
TESTS = (
    *("tests/core/test_noise.py", "tests/core/test_primitives.py", "tests/core/test_cookie.py"),
    *("tests/core/test_tunnel.py", "tests/fastpath/test_aead.py", "tests/fastpath/test_xchacha20poly1305.py"),
    "tests/fastpath/test_plane_seal.py",
)
"""What an emulator gets through in minutes, and starts no Python of its own."""


class Emulated:
    """The checkout with what is compiled for aarch64: the wheel's modules, and the tests' own."""

    def __init__(self, directory: Path) -> None:
        self._cross: Cross = cross(PROCESSOR)
        self._site, self.tree = directory / "site", directory / "tree"
        version = python_of(self._cross.root)
        platforms = [f"--platform={platform}_{PROCESSOR}" for platform in PLATFORMS]
        chosen = ["--only-binary=:all:", f"--python-version={version}", "--implementation=cp", *platforms]
        abis = [f"--abi={abi}" for abi in (f"cp{version.replace('.', '')}", "abi3", "none")]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(self._site), *chosen, *abis]
        run(*pip, newest(f"pywg_tunnel-*_{PROCESSOR}.whl"), *FROM_INDEX, *FOR_COLLECTION)
        for source in packages.sources():
            target = self.tree / source
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, target)
        for module in (self._site / "pywg").rglob("*.so"):
            shutil.copy(module, self.tree / module.relative_to(self._site))
        shutil.copytree(self._site / "pywg_tunnel.libs", self.tree / "pywg_tunnel.libs")
        shutil.rmtree(self._site / "pywg")
        self._build_tests(version)

    def _build_tests(self, version: str) -> None:
        sources = [str(path.relative_to(self.tree)) for path in sorted((self.tree / "tests" / "native").glob("*.pyx"))]
        suffix = f".cpython-{version.replace('.', '')}-{self._cross.triplet}.so"
        module = [sys.executable, "-m", "tests.native", *[name for name in sources if name not in NOT_THERE]]
        run(*module, cwd=self.tree, more={**self._cross.building(), "SETUPTOOLS_EXT_SUFFIX": suffix})

    def command(self, *argv: str) -> list[str]:
        """What runs Python with these arguments, in the tree."""
        root = self._cross.root
        libraries = ("-E", f"LD_LIBRARY_PATH={self._cross.libraries}")
        python = root / "usr" / "bin" / f"python{python_of(root)}"
        return ["qemu-aarch64-static", "-L", str(root), *libraries, str(python), *argv]

    @property
    def environment(self) -> dict[str, str]:
        """Of that."""
        return {**os.environ, "PYTHONPATH": f"{self.tree}:{self._site}", "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *argv: str) -> str:
        """What Python prints, which is shown, too. CalledProcessError."""
        done = subprocess.run(
            self.command(*argv),
            cwd=self.tree,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        print(done.stdout, end="", flush=True)
        return done.stdout


class Program(NamedTuple):
    """What starts pywg."""

    argv: list[str]
    environment: dict[str, str]


INTERFACES = ("pywga", "pywgb")
"""Both have their sockets in one folder."""
WITHIN_S = 60.0
"""An emulated start takes seconds."""


def join(*ends: Program) -> None:
    """Two daemons, and packets between them; many, so that there are superframes too."""
    with debian.two_networks(NEAR, FAR) as networks, tempfile.TemporaryDirectory() as name:
        daemons = [_start(*one) for one in zip(ends, networks, INTERFACES, strict=True)]
        try:
            keys = [_configure(network, Path(name), number) for number, network in enumerate(networks)]
            for number, network in enumerate(networks):
                peer = ("peer", keys[1 - number], "endpoint", f"{(FAR, NEAR)[number]}:51820")
                network.run("wg", "set", INTERFACES[number], *peer, "allowed-ips", f"10.99.0.{2 - number}/32")
            poll(lambda: _answers(networks[0]), "the other end answers", WITHIN_S)
            print(networks[0].run("ping", "-c", "20", "-i", "0.05", "-s", "1300", "10.99.0.2").splitlines()[-2])
            print(_stream(networks[0], networks[1]), flush=True)
        finally:
            for daemon in daemons:
                daemon.terminate()
                daemon.wait()


def _start(program: Program, network: Namespace, interface: str) -> subprocess.Popen[bytes]:
    argv = [*program.argv, "--foreground", interface]
    return network.start(argv, stdout=subprocess.DEVNULL, stderr=sys.stderr.fileno(), env=program.environment)


def _configure(network: Namespace, folder: Path, number: int) -> str:
    """Sets one end up, and returns its public key."""
    interface, key = INTERFACES[number], folder / f"key{number}"
    key.touch(mode=0o600)
    key.write_text(run("wg", "genkey"))
    poll(lambda: Path(f"/var/run/wireguard/{interface}.sock").exists(), f"{interface} is there", WITHIN_S)
    network.run("wg", "set", interface, "private-key", str(key), "listen-port", "51820")
    network.run("ip", "address", "add", f"10.99.0.{number + 1}/24", "dev", interface)
    network.run("ip", "link", "set", interface, "up")
    return network.run("wg", "show", interface, "public-key").strip()


def _answers(network: Namespace) -> bool:
    ping = ["ping", "-c", "1", "-W", "1", "10.99.0.2"]
    return not network.start(ping, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait()


def _stream(near: Namespace, far: Namespace) -> str:
    """A TCP stream of five seconds; what iperf3 says of it at last."""
    server = far.start(["iperf3", "--server", "--one-off"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        poll(lambda: ":5201" in far.run("ss", "--listening", "--tcp", "--numeric"), "iperf3 listens")
        return near.run("iperf3", "--client", "10.99.0.2", "--time", "5").strip().splitlines()[-3]
    finally:
        server.terminate()
        server.wait()


def try_aarch64() -> None:
    """All of it."""
    with tempfile.TemporaryDirectory(prefix="pywg-aarch64-") as name:
        emulated = Emulated(Path(name))
        assert "(aarch64)" in emulated.run("-m", "pywg", "version", "--verbose")
        emulated.run(
            "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=900", "-k", "not avx and not ifma", *TESTS
        )
        there = Program(emulated.command("-P", "-m", "pywg"), emulated.environment)
        here = Program([sys.executable, "-m", "pywg"], dict(os.environ))
        for far, what in ((here, "this processor's own"), (there, "aarch64 too")):
            print(f"a tunnel from aarch64; the other end: {what}")
            join(there, far)
