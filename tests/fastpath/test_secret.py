"""Secrets live in locked, guarded, wiped memory that neither a core dump, a fork nor a repr shows."""

import copy
import ctypes
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywg.dataplane.crypto.secret import Secret, locked, wipe

KEY = bytes(range(1, 33))


def address_of(secret: Secret) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(secret))


def mapping_of(address: int) -> tuple[int, int, set[str]]:
    """Start, end and VmFlags of the mapping that holds `address`."""
    found: tuple[int, int] | None = None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, _, rest = line.partition(" ")
        if "-" in first and not first.endswith(":"):
            start, end = (int(part, 16) for part in first.split("-"))
            found = (start, end) if start <= address < end else None
        elif found and first == "VmFlags:":
            return (*found, set(rest.split()))
    raise AssertionError(f"no mapping holds {address:#x}")


def locked_kib() -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmLck:"))
    return int(line.split()[1])


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@given(st.binary(min_size=1, max_size=64))
def test_holds_what_it_was_given(data: bytes) -> None:
    secret = Secret(data)
    assert bytes(secret) == data
    assert len(secret) == len(data)
    assert secret == data
    assert secret == memoryview(data)
    assert secret == Secret(bytearray(data))
    assert bool(secret) is any(data)
    assert bytes(secret.copy()) == data


@given(st.binary(min_size=1, max_size=64), st.data())
def test_one_different_bit_is_unequal(data: bytes, draw: st.DataObject) -> None:
    other = bytearray(data)
    other[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    assert Secret(data) != other
    assert Secret(data) != Secret(other)


def test_length_is_part_of_equality() -> None:
    assert Secret(length=32) != bytes(31)
    assert Secret(length=32) != bytes(33)
    assert Secret(length=32) != "text"


@pytest.mark.parametrize("length", [1, 32, 64])
def test_starts_as_zeros(length: int) -> None:
    dirty = [Secret(b"\xff" * 64) for _ in range(2000)]
    del dirty
    fresh = [Secret(length=length) for _ in range(2000)]
    assert all(bytes(secret) == bytes(length) for secret in fresh)
    assert not any(fresh)


@pytest.mark.parametrize("source", [b"", bytes(65), bytearray(1000)])
def test_one_to_64_bytes(source: bytes) -> None:
    with pytest.raises(ValueError, match="1 to 64 bytes"):
        Secret(source)
    with pytest.raises(ValueError, match="1 to 64 bytes"):
        Secret(length=len(source))


def test_the_buffer_is_writable() -> None:
    secret = Secret()
    view = memoryview(secret)
    assert (view.format, view.itemsize, view.shape, view.readonly) == ("B", 1, (32,), False)
    view[:] = KEY
    assert bytes(secret) == KEY


def test_a_copy_has_a_life_of_its_own() -> None:
    secret = Secret(KEY)
    other = secret.copy()
    secret.wipe()
    assert other == KEY


def test_wipe_zeros_what_others_still_look_at() -> None:
    secret = Secret(KEY)
    view = memoryview(secret)
    secret.wipe()
    secret.wipe()
    assert bytes(view) == bytes(32)
    others = [Secret(b"\xff" * 64) for _ in range(2000)]
    assert bytes(view) == bytes(32), "the slot is nobody else's while a buffer is out"
    view[0] = 7
    view.release()
    assert all(bytes(other) == b"\xff" * 64 for other in others)
    del others
    assert not any(Secret() for _ in range(4000)), "what was written after the wipe is gone as well"


def test_a_wiped_secret_fails_closed() -> None:
    secret, other = Secret(KEY), Secret(KEY)
    secret.wipe()
    for use in (
        lambda: memoryview(secret),
        lambda: bytes(secret),
        secret.copy,
        lambda: secret == bytes(32),
        lambda: other == secret,
    ):
        with pytest.raises(ValueError, match="wiped"):
            use()
    assert not secret
    assert len(secret) == 32


def test_a_dropped_secret_is_wiped() -> None:
    secret = Secret(KEY)
    address = address_of(secret)
    assert ctypes.string_at(address, 32) == KEY
    del secret
    assert ctypes.string_at(address, 64) == bytes(64)


def test_slots_are_used_again() -> None:
    assert len({address_of(Secret(KEY)) for _ in range(10_000)}) <= 2


def test_every_secret_has_its_own_slot() -> None:
    secrets = [Secret(number.to_bytes(32, "big")) for number in range(5000)]
    assert len({address_of(secret) for secret in secrets}) == 5000
    assert all(secret == number.to_bytes(32, "big") for number, secret in enumerate(secrets))


def test_threads_do_not_share_slots() -> None:
    failures: list[int] = []

    def churn(tag: int) -> None:
        for _ in range(200):
            mine = [Secret(bytes([tag]) * 64) for _ in range(50)]
            failures.extend(tag for secret in mine if bytes(secret) != bytes([tag]) * 64)

    threads = [threading.Thread(target=churn, args=(tag,)) for tag in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_repr_and_errors_show_nothing() -> None:
    secret = Secret(b"hunter2-hunter2-")
    assert repr(secret) == str(secret) == "<Secret, 16 bytes>"
    secret.wipe()
    assert repr(secret) == "<Secret, 16 bytes, wiped>"


def test_no_implicit_copies() -> None:
    secret = Secret(KEY)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="can't be pickled or copied"):
            duplicate(secret)
    with pytest.raises(TypeError, match="unhashable"):
        hash(secret)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_take_leaves_nothing_behind(kind: type[bytes] | type[bytearray]) -> None:
    source = kind(bytearray(KEY))
    secret = Secret.take(source)
    assert bytes(secret) == KEY
    assert bytes(source) == bytes(32)


def test_take_wants_something_it_can_wipe() -> None:
    wrong: Any = memoryview(KEY)
    with pytest.raises(TypeError, match="memoryview"):
        Secret.take(wrong)


def test_wipe_overwrites_in_place() -> None:
    for make in (bytes, bytearray):
        data = make(bytearray(KEY))
        wipe(data)
        assert data == bytes(32)
    data = bytes(bytearray(KEY))
    wipe(memoryview(data)[8:24])
    assert data == KEY[:8] + bytes(16) + KEY[24:]
    secret = Secret(KEY)
    wipe(memoryview(secret))
    assert secret == bytes(32)
    wipe(b"")


def test_wipe_refuses_what_it_must_not_write_to() -> None:
    wrong: Any = "text"
    with pytest.raises(TypeError, match="str"):
        wipe(wrong)
    with pytest.raises(TypeError, match="memoryview"):
        wipe(memoryview(Secret(KEY)).toreadonly())
    with pytest.raises(BufferError):
        wipe(memoryview(bytearray(KEY))[::2])
    one = b"\x61"
    with pytest.raises(ValueError, match="shared by the whole interpreter"):
        wipe(one)
    assert one == bytes([97])


def test_the_arena_is_locked() -> None:
    if not locked():
        pytest.skip("RLIMIT_MEMLOCK does not allow a locked arena here")
    start, end, flags = mapping_of(address_of(Secret(KEY)))
    assert "lo" in flags
    assert locked_kib() * 1024 >= end - start


def test_the_arena_stays_out_of_core_dumps_and_forks() -> None:
    _, _, flags = mapping_of(address_of(Secret(KEY)))
    assert {"dd", "wf"} <= flags


def test_a_lock_that_is_refused_is_told() -> None:
    result = run(
        "import os, resource\n"
        "from pywg.dataplane.crypto.secret import Secret, locked\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))\n"
        # CAP_IPC_LOCK lets root lock without limit; without a capability left the limit holds.
        "if os.getuid() == 0: os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "assert locked()\n"
        "secret = Secret(b'k' * 32)\n"
        "assert bytes(secret) == b'k' * 32\n"
        "assert not locked()\n"
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("side", ["below", "above"])
def test_guard_pages_stop_a_runaway_read(side: str) -> None:
    result = run(
        "import ctypes, resource\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "from pywg.dataplane.crypto.secret import Secret\n"
        "secret = Secret(b'k' * 32)\n"
        "address = ctypes.addressof(ctypes.c_char.from_buffer(secret))\n"
        "ranges = [[int(x, 16) for x in line.split()[0].split('-')] for line in open('/proc/self/maps')]\n"
        "(start, end), = [r for r in ranges if r[0] <= address < r[1]]\n"
        "ctypes.string_at(start, 1), ctypes.string_at(end - 1, 1)\n"
        "print('inside', flush=True)\n"
        f"ctypes.string_at({'start - 1' if side == 'below' else 'end'}, 1)\n"
        "print('outside', flush=True)\n"
    )
    assert result.stdout == "inside\n", result.stderr
    assert result.returncode == -signal.SIGSEGV


def test_a_forked_child_sees_zeros() -> None:
    result = run(
        "import os\n"
        "from pywg.dataplane.crypto.secret import Secret\n"
        "secret = Secret(b'k' * 32)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    fresh = Secret(b'n' * 32)\n"
        "    os._exit(0 if bytes(secret) == bytes(32) and bytes(fresh) == b'n' * 32 else 1)\n"
        "_, status = os.waitpid(pid, 0)\n"
        "assert os.waitstatus_to_exitcode(status) == 0\n"
        "assert bytes(secret) == b'k' * 32\n"
    )
    assert result.returncode == 0, result.stderr
