"""Secrets decide no branch: calls that differ in secrets alone execute the same instructions in the same order.

The processor itself tells which (tests/native/steps.pyx), of every extension that it has. A comparison that ends at the
first difference is found. That no address depends on a secret valgrind says of AVX2's kernels.
"""

import platform
import re
import secrets
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from operator import eq
from pathlib import Path

import pytest

from pywg.core import crypto
from pywg.dataplane.crypto.secret import Secret
from tests.aead import HERE, every_backend
from tests.native import steps, xchacha20poly1305
from tests.native.aead import open_texts, seal_texts
from tests.requirements import require_tool

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions are traced on x86-64 alone")

TAG_LEN = 16
FOUND = 99
PLACES = [(0, 64), (100, 0), (200, 130)]
END = PLACES[-1][0] + PLACES[-1][1] + TAG_LEN
_CODE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-xp .* (/.*)")


def code(*names: str) -> list[tuple[int, int]]:
    """Where the code of the libraries is whose paths have one of these in them."""
    found = [_CODE.fullmatch(line) for line in Path("/proc/self/maps").read_text().splitlines()]
    return [(int(one[1], 16), int(one[2], 16)) for one in found if one and any(name in one[3] for name in names)]


def same(calls: Sequence[Callable[[], object]], *libraries: str) -> bool:
    """Whether they execute the same instructions of these libraries, each after a first call for what happens once."""
    for call in calls:
        call()
    traces = [steps.trace(call, code(*libraries)) for call in calls]
    assert len(traces[0]) > 100, "it was seen"
    return all(trace == traces[0] for trace in traces)


CIPHERS = ("crypto/chacha20poly1305", "crypto/evp", "crypto/ossl_provider", "libcrypto")
MACS = ("crypto/cookie_mac", "crypto/blake2s", "libcrypto")
WRONG_AT = (0, 15)
"""Bytes of a tag or a MAC, one of which is wrong."""


def with_one_wrong(message: bytes, at: int) -> bytes:
    """One byte of it changed."""
    return message[:at] + bytes((message[at] ^ 0x55,)) + message[at + 1 :]


@every_backend
def test_sealing_does_not_depend_on_key_or_text(aead: str) -> None:
    def sealing(key: bytes, text: bytes) -> Callable[[], object]:
        return lambda: seal_texts(aead, key, 7, bytearray(text), PLACES)

    assert same([sealing(bytes(32), bytes(END)), sealing(b"\xff" * 32, secrets.token_bytes(END))], *CIPHERS)


@every_backend
def test_opening_does_not_depend_on_key_or_text_or_where_a_tag_is_wrong(aead: str) -> None:
    def sealed(key: bytes, text: bytes) -> bytes:
        buffer = bytearray(text)
        seal_texts(aead, key, 7, buffer, PLACES)
        return bytes(buffer)

    def opening(key: bytes, buffer: bytes) -> Callable[[], object]:
        return lambda: open_texts(aead, key, [7, 8, 9], bytearray(buffer), PLACES)

    keys = bytes(32), secrets.token_bytes(32)
    whole = [sealed(keys[0], bytes(END)), sealed(keys[1], secrets.token_bytes(END))]
    assert opening(keys[0], whole[0])() == [True] * len(PLACES)
    assert same([opening(key, buffer) for key, buffer in zip(keys, whole, strict=True)], *CIPHERS)
    forged = [with_one_wrong(whole[1], END - TAG_LEN + at) for at in WRONG_AT]
    assert opening(keys[1], forged[0])() == [True] * (len(PLACES) - 1) + [False]
    assert same([opening(keys[1], buffer) for buffer in forged], *CIPHERS)


def test_macs_do_not_depend_on_their_key_or_on_where_they_are_wrong() -> None:
    key, body = secrets.token_bytes(32), secrets.token_bytes(116)
    mac1 = body + crypto.keyed_mac(key, body) + bytes(16)
    mac2 = body + secrets.token_bytes(32)
    assert steps.mac1_holds(key, mac1)
    wrong1 = [with_one_wrong(mac1, len(body) + at) for at in WRONG_AT]
    wrong2 = [with_one_wrong(mac2, len(body) + TAG_LEN + at) for at in WRONG_AT]
    calls: list[Callable[[], object]] = [partial(steps.mac1_holds, key, message) for message in wrong1]
    assert same([*calls, lambda: steps.mac1_holds(bytes(32), mac1)], *MACS)
    calls = [partial(steps.mac2_holds, key, message) for message in wrong2]
    assert same([*calls, lambda: steps.mac2_holds(bytes(32), mac2)], *MACS)


def test_cookie_replies_do_not_depend_on_the_cookie_or_on_where_their_tag_is_wrong() -> None:
    key, nonce = secrets.token_bytes(32), secrets.token_bytes(24)
    sealed = xchacha20poly1305.seal(key, nonce, bytes(16), b"")
    wrong = [with_one_wrong(sealed, 16 + at) for at in WRONG_AT]
    libraries = ("crypto/xchacha20poly1305", "libcrypto")
    assert same([partial(xchacha20poly1305.open_, key, nonce, text, b"") for text in wrong], *libraries)
    texts = bytes(16), secrets.token_bytes(16)
    assert same([partial(xchacha20poly1305.seal, key, nonce, text, b"") for text in texts], *libraries)


def test_secrets_compare_without_telling_where_they_differ() -> None:
    """Those of the configuration, and MACs in the core."""
    one = secrets.token_bytes(32)
    others = [with_one_wrong(one, at) for at in (0, 15, 31)]
    secret = Secret(one)
    assert same([partial(eq, secret, other) for other in others], "crypto/secret", "libcrypto")
    zeros = [Secret(with_one_wrong(bytes(32), at)) for at in (0, 15, 31)]
    assert same([partial(bool, some) for some in zeros], "crypto/secret", "libcrypto")
    assert same([partial(crypto.same, one, other) for other in others], "/python3", "/libpython")


@pytest.mark.skipif("avx2" not in HERE, reason="this processor lacks AVX2")
def test_no_address_depends_on_a_secret(tmp_path: Path) -> None:
    """Nor a branch: valgrind follows what is computed from a key, and is told that it is undefined."""
    valgrind = require_tool("valgrind")
    program = tmp_path / "undefined_secrets"
    source = Path(__file__).with_name("undefined_secrets.c")
    flags = ["-O3", "-g1", "-DNDEBUG", "-Ipywg/dataplane/crypto"]
    subprocess.run(["cc", *flags, "-o", program, source], check=True, cwd=source.parents[2])
    command = [valgrind, "--quiet", f"--error-exitcode={FOUND}", str(program)]
    fine = subprocess.run(command, check=False, capture_output=True, text=True)
    assert fine.returncode == 0, fine.stderr
    planted = subprocess.run([*command, "planted"], check=False, capture_output=True, text=True)
    assert planted.returncode == FOUND
    assert planted.stderr.count("Use of uninitialised value") == 1


def test_a_comparison_that_ends_early_is_found() -> None:
    one = secrets.token_bytes(32)
    others = [with_one_wrong(one, at) for at in (0, 31)]
    assert not same([partial(steps.early_exit, one, other) for other in others], "native/steps")
    alike = [with_one_wrong(one, 31) for _ in range(2)]
    assert same([partial(steps.early_exit, one, other) for other in alike], "native/steps")
