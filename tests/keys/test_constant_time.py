"""Secrets decide no branch: calls that differ in secrets alone execute the same instructions in the same order.

The processor itself tells which (tests/native/steps.pyx), of every extension that it has. A comparison that ends at the
first difference is found. That no address depends on a secret valgrind says of AVX2's kernels.
"""

import json
import os
import platform
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from operator import eq
from pathlib import Path

import pytest

from pywg.core import crypto
from pywg.dataplane.crypto.secret import Secret
from tests.aead import HERE, USUAL, every_backend
from tests.keys.addresses import executed, first_difference
from tests.native import secret_work, steps, xchacha20poly1305
from tests.requirements import require_tool

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions are traced on x86-64 alone")

TAG_LEN = 16
WARM = 20
"""Calls after which Python has specialized the function, and changes it no more."""
FOUND = 99
_CODE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-xp .* (/.*)")


def code(*names: str) -> list[tuple[int, int]]:
    """Where the code of the libraries is whose paths have one of these in them."""
    found = [_CODE.fullmatch(line) for line in Path("/proc/self/maps").read_text().splitlines()]
    return [(int(one[1], 16), int(one[2], 16)) for one in found if one and any(name in one[3] for name in names)]


def same(calls: Sequence[Callable[[], object]], *libraries: str) -> bool:
    """Whether they execute the same instructions of these libraries, each after calls for what happens once."""
    for call in [*calls] * WARM:
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


KEY = secrets.token_bytes(32)
BODY = secrets.token_bytes(116)
NONCE = secrets.token_bytes(24)


def sealed_texts(aead: str) -> bytes:
    """A key, and what it has sealed."""
    secret_work.use(aead)
    secret_work.give(KEY + secrets.token_bytes(secret_work.TEXTS_LEN))
    secret_work.call("seal")
    return secret_work.taken()[: len(KEY) + secret_work.TEXTS_LEN]


def sealed_cookie() -> bytes:
    return KEY + NONCE + xchacha20poly1305.seal(KEY, NONCE, secrets.token_bytes(16), bytes(16))


def inputs(work: str, aead: str = USUAL) -> list[bytes]:
    """They differ in what an attacker must not learn: keys, texts, and where a tag or a MAC is wrong."""
    mac1 = KEY + BODY + crypto.keyed_mac(KEY, BODY) + bytes(16)
    mac2 = KEY + BODY + secrets.token_bytes(32)
    if work == "compare":
        return [with_one_wrong(bytes(32), at) for at in (0, 15, 31)]
    if work == "MAC1":
        return [*(with_one_wrong(mac1, len(KEY + BODY) + at) for at in WRONG_AT), bytes(32) + mac1[32:]]
    if work == "MAC2":
        return [*(with_one_wrong(mac2, len(KEY + BODY) + TAG_LEN + at) for at in WRONG_AT), bytes(32) + mac2[32:]]
    if work == "seal cookie":
        return [KEY + NONCE + bytes(16), secrets.token_bytes(72)]
    if work == "open cookie":
        sealed = sealed_cookie()
        wrong = [with_one_wrong(sealed, len(sealed) - TAG_LEN + at) for at in WRONG_AT]
        return [*wrong, secrets.token_bytes(len(sealed))]
    if work == "seal":
        length = len(KEY) + secret_work.TEXTS_LEN
        return [bytes(length), secrets.token_bytes(length)]
    if work == "open":
        return [sealed_texts(aead), sealed_texts(aead)]
    whole = sealed_texts(aead)
    return [with_one_wrong(whole, len(whole) - TAG_LEN + at) for at in WRONG_AT]


def differences(work: str, inputs: list[bytes]) -> set[str]:
    """Between the call with the first of these inputs and those with the others: instructions, addresses."""
    call = partial(secret_work.call, work.removesuffix(" forged"))
    found = []
    for given in inputs:
        for _ in range(2):  # some happens once
            secret_work.give(given)
            call()
        secret_work.give(given)
        found.append(executed(call, code("native/secret_work", *CIPHERS, *MACS, "crypto/xchacha20poly1305")))
    assert len(found[0]) > 20, "it was seen"
    return {first_difference(found[0], other) for other in found[1:]}


@pytest.mark.parametrize("work", ["compare", "MAC1", "MAC2", "seal cookie", "open cookie"])
def test_no_instruction_or_address_depends_on_a_secret(work: str) -> None:
    assert differences(work, inputs(work)) == {""}


@every_backend
@pytest.mark.parametrize("work", ["seal", "open", "open forged"])
def test_no_instruction_or_address_of_a_cipher_depends_on_a_secret(aead: str, work: str) -> None:
    secret_work.use(aead)
    assert differences(work, inputs(work, aead)) == {""}


def test_what_depends_on_a_secret_is_found() -> None:
    secret_work.use(USUAL)
    (early,) = differences("early exit", inputs("compare")[::2])
    assert early.startswith("another instruction")
    (elsewhere,) = differences("lookup", [b"\1", b"\2"])
    assert elsewhere.startswith("another address")
    assert differences("find index", [bytes(4), (20 << 8).to_bytes(4, "little")]) != {""}  # it is no secret
    assert differences("find index", [bytes(4) + KEY, bytes(36)]) == {""}


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


def test_no_branch_or_address_of_a_handshake_depends_on_a_key() -> None:
    """Python's own code, libcrypto's X25519 and AEAD, whatever the keys are: valgrind takes them for undefined."""
    command = [require_tool("valgrind"), "--quiet", sys.executable, "-m", "tests.keys.undefined_handshake"]
    environment = {**os.environ, "PYTHONMALLOC": "malloc"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    counts = json.loads(done.stdout)
    assert counts.pop("planted") >= 32, "each byte of a key that is looked up in a table"
    assert counts.pop("exchange") == 1, "whether the shared secret is zeros"
    assert counts.pop("open") == 1, "whether the tag holds"
    assert counts.pop("handshake with a preshared key") == 2, "whether there is one, at either end"
    assert counts == dict.fromkeys(counts, 0)
    assert len(counts) == 8


def test_a_comparison_that_ends_early_is_found() -> None:
    one = secrets.token_bytes(32)
    others = [with_one_wrong(one, at) for at in (0, 31)]
    assert not same([partial(steps.early_exit, one, other) for other in others], "native/steps")
    alike = [with_one_wrong(one, 31) for _ in range(2)]
    assert same([partial(steps.early_exit, one, other) for other in alike], "native/steps")
