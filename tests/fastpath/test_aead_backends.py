"""The AEAD's table of backends: every one is right in batches of any size, and only what is right is ever chosen."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from pywg._fastpath import Plane, available_aeads, bench_open, bench_seal, choose_aead
from tests.aead import HERE, NEEDS, USUAL, every_backend
from tests.fastpath.plane_harness import Far, PlaneHarness, pad, raw_packet, reply, seal
from tests.native.aead import bench_evp, open_batch, seal_batch
from tests.native_build import build_module

ROOT = Path(__file__).parents[2]
KEY = bytes(range(32))


@every_backend
@pytest.mark.parametrize("size", [1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 130])
def test_batches_of_mixed_lengths(aead: str, size: int) -> None:
    chance = random.Random(size)
    packets = [chance.randbytes(16 * chance.choice([0, 1, 2, 4, 5, 16, 88, 128])) for _ in range(size)]
    sealed = seal_batch(aead, KEY, 2**32 - 7, packets, 5)
    assert sealed == [seal(KEY, 5, 2**32 - 7 + i, packet) for i, packet in enumerate(packets)]
    assert open_batch(aead, KEY, sealed) == packets

    forged = {chance.randrange(size) for _ in range(3)}
    damaged = [bytearray(datagram) for datagram in sealed]
    for i in forged:
        damaged[i][chance.randrange(16, len(damaged[i]))] ^= 1 << chance.randrange(8)
    opened = open_batch(aead, KEY, [bytes(datagram) for datagram in damaged])
    assert opened == [None if i in forged else packet for i, packet in enumerate(packets)]


@every_backend
@pytest.mark.parametrize("batch", [1, 64])
def test_benchmarks_take_some_time(aead: str, batch: int) -> None:
    """bench_open also looks at what it opens, and raises when something is not authentic."""
    assert bench_seal(aead, 1420, batch, 2) > 0
    assert bench_open(aead, 1420, batch, 2) > 0
    assert bench_evp(1420, batch, 2) > 0


@pytest.mark.parametrize("batch", [0, 65])
def test_benchmarks_of_no_batch(batch: int) -> None:
    for bench in (bench_seal, bench_open):
        with pytest.raises(ValueError, match="1 to 64"):
            bench("evp", 1420, batch, 1)


# ---- the choice


def test_the_processor_says_which_backends_are_here() -> None:
    assert list(available_aeads()) == HERE
    assert choose_aead("auto") in HERE


@every_backend
def test_a_backend_is_chosen_by_its_name(aead: str) -> None:
    assert choose_aead(aead) == aead


@pytest.mark.parametrize("name", ["aes", "", "EVP", "evp\0"])
def test_a_backend_that_is_not_known_is_refused(name: str) -> None:
    for choose in (choose_aead, lambda aead: Plane(aead=aead)):
        with pytest.raises(ValueError, match=f"{name!r} is not known: choose one of auto, evp".replace("\\", r"\\")):
            choose(name)


def test_each_plane_keeps_its_own() -> None:
    harnesses = {aead: PlaneHarness(aead=aead) for aead in HERE}
    try:
        fars = {aead: Far(harness) for aead, harness in harnesses.items()}
        for aead, harness in harnesses.items():
            assert harness.plane.aead == aead
            harness.write(raw_packet(60))
            assert fars[aead].open().text == pad(raw_packet(60))
            fars[aead].send(reply(1))
            assert harness.read(1) == [reply(1)]
    finally:
        for harness in harnesses.values():
            harness.close()


# ---- the table from inside


@pytest.fixture(scope="module", autouse=True)
def _inside() -> None:
    build_module(Path(__file__).with_name("aead_inside.pyx"))


def said(code: str) -> str:
    """What the code prints in a process of its own."""
    imports = "from tests.fastpath import aead_inside; from pywg._fastpath import Plane, available_aeads, choose_aead"
    command = [sys.executable, "-c", f"{imports}\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_tests_know_the_whole_table() -> None:
    table = said("print([(name, here) for name, _, here, _ in aead_inside.table()])")
    assert table == str([(name, name in HERE) for name in NEEDS])


@pytest.mark.parametrize(
    ("code", "tried"),
    [
        ("import pywg._fastpath", []),
        ("available_aeads()", []),
        ("Plane(aead='evp').close()", ["evp"]),
        (f"Plane(aead={USUAL!r}).close()", [USUAL]),
        ("Plane().close()", HERE),
    ],
)
def test_what_is_not_asked_for_is_not_tried(code: str, tried: list[str]) -> None:
    names = "[name for name, _, _, was_tried in aead_inside.table() if was_tried]"
    assert said(f"{code}; print({names})") == str(tried)


@pytest.mark.parametrize("how", ["seal", "open"])
@every_backend
def test_what_is_wrong_is_never_chosen(aead: str, how: str) -> None:
    code = f"""
aead_inside.damage({aead!r}, {how!r})
try:
    choose_aead({aead!r})
except ValueError as error:
    print(error)
"""
    assert f"the AEAD backend '{aead}' gives wrong results on this machine" in said(code)


def test_what_is_wrong_or_not_here_is_not_the_fastest() -> None:
    for how in ("seal", "open", "nowhere"):
        rest = [name for name in HERE if name != USUAL]
        code = f"aead_inside.damage({USUAL!r}, {how!r})\nprint(choose_aead('auto'))"
        assert said(code) in rest


@every_backend
def test_other_work_for_a_while_chooses_no_slower_one(aead: str) -> None:
    """Though it lasts as long as one is measured."""
    assert said(f"aead_inside.disturb({aead!r})\nprint(choose_aead('auto'))") == aead


def test_what_this_machine_lacks_is_named() -> None:
    code = "aead_inside.damage('avx2', 'nowhere')\ntry: choose_aead('avx2')\nexcept ValueError as error: print(error)"
    assert said(code).startswith("the AEAD backend 'avx2' needs x86-64 with AVX2 and BMI2: choose one of auto")


def test_without_any_that_is_right_there_is_no_plane() -> None:
    code = "aead_inside.damage('evp', 'seal')\ntry: Plane()\nexcept RuntimeError as error: print(error)"
    assert said(code).startswith("no AEAD backend gives right results on this machine")


def test_a_key_that_the_library_does_not_take_leaves_no_other_in_use() -> None:
    """Nothing is sealed under the key before it, however often it is tried, and no copy outlives the batch."""
    assert said("print(aead_inside.use([1, 2]))") == "[(True, 1), (True, 2), (False, 0)]"
    assert said("print(aead_inside.use([1, 0xFF, 0xFF, 1]))") == (
        "[(True, 1), (False, 0), (False, 0), (True, 1), (False, 0)]"
    )
    assert said("print(aead_inside.use([1, 0xFF]))") == "[(True, 1), (False, 0), (False, 0)]"
