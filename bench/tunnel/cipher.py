"""What the AEAD alone does, on all processors at once, as they are shared in the tunnel.

    python -m bench.tunnel.cipher [--quick]     one processor's part, as JSON; measure() runs one on each

The efficiency of a tunnel is what it reaches of what its two halves allow. A byte of payload costs `1/null` of the
machine's time on its way without a cipher (measured: the same daemon, built without one), and `1/aead` for the cipher
alone: sealed once, opened once, by as many processors as there are. A tunnel that adds nothing to the sum of the two
moves 1 / (1/null + 1/aead). This holds where the processors are what limits the tunnel: on a machine with few of them.
"""

import json
import os
import subprocess
import sys

from pywg._fastpath import bench_open, bench_seal
from tests.native.aead import bench_evp

from .command import CommandError, keep_priority

PACKET_LEN = 1420  # of the tunnel's MTU
PAYLOAD_LEN = PACKET_LEN - 20 - 32  # IPv4, TCP with timestamps
SMALL_LEN = 64
BATCH = 44  # packets of a full superframe
ROUNDS = 3000
_WITHIN_S = 60.0


def measure(*, quick: bool) -> dict[str, float]:
    """aead_bits, the goodput of the cipher alone in bits/s, and aead_s_per_gb, what that costs of one processor.

    aead_x_SIZE: how many times as fast as libcrypto's EVP.
    """
    command = [sys.executable, "-m", "bench.tunnel.cipher", *(["--quick"] if quick else [])]
    cpus = sorted(os.sched_getaffinity(0))
    parts = [
        subprocess.Popen(
            ["taskset", "--cpu-list", str(cpu), *command], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        for cpu in cpus
    ]
    for part in parts:
        keep_priority(part.pid)
    try:
        said = [json.loads(part.communicate(timeout=_WITHIN_S)[0] or "null") for part in parts]
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise CommandError(f"the AEAD alone could not be measured: {error}") from error
    finally:
        for part in parts:
            part.kill()
            part.wait()
    if not all(said):
        raise CommandError("the AEAD alone could not be measured")
    return {
        "aead_bits": sum(PAYLOAD_LEN * 8 / (one["both_ns"] * 1e-9) for one in said),
        "aead_s_per_gb": sum(one["both_ns"] for one in said) / len(said) / PAYLOAD_LEN,
        **{f"aead_x_{size}": sum(one[f"x_{size}"] for one in said) / len(said) for size in (PACKET_LEN, SMALL_LEN)},
    }


def efficiency(tunnel_bits: float, null_bits: float, aead_bits: float) -> float:
    """What the tunnel reaches of what it could, of 1; see above."""
    return tunnel_bits * (1 / null_bits + 1 / aead_bits)


def _one_processor(rounds: int) -> dict[str, float]:
    """Nanoseconds for a packet, sealed and opened; and the ratios to EVP, taken in turns."""
    seal = [bench_seal("auto", PACKET_LEN, BATCH, rounds) for _ in range(3)]
    opening = [bench_open("auto", PACKET_LEN, BATCH, rounds) for _ in range(3)]
    both_ns = sorted(seal)[1] + sorted(opening)[1]
    ratios = {}
    for size in (PACKET_LEN, SMALL_LEN):
        pairs = [bench_evp(size, BATCH, rounds // 10) / bench_seal("auto", size, BATCH, rounds // 10) for _ in range(5)]
        ratios[f"x_{size}"] = sorted(pairs)[2]
    return {"both_ns": both_ns, **ratios}


if __name__ == "__main__":
    print(json.dumps(_one_processor(ROUNDS // 10 if "--quick" in sys.argv else ROUNDS)))
