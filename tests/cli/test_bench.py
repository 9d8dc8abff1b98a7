"""`pywg bench`: what it prints, for people and for programs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pywg._fastpath import available_aeads

ROOT = Path(__file__).parents[2]


def bench(*, as_json: bool) -> str:
    """In a process of its own, because it forks; with less patience than a user has."""
    code = f"import sys; from pywg.cli.bench import bench; sys.exit(bench(as_json={as_json}, seconds=0.05))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_json_has_it_all() -> None:
    found = json.loads(bench(as_json=True))
    assert found["kernel"] == os.uname().release
    assert found["threads"] >= 2
    assert found["cpus"] == len(os.sched_getaffinity(0))
    assert found["memory"]["ceiling"] > 1 << 20
    assert set(found["offloads"]) == {"tun_vnet_hdr", "tun_tso", "tun_uso", "tun_tunnels", "udp_segment", "udp_gro"}
    assert found["aead"]["auto"] in available_aeads()
    rows = {(one["backend"], one["operation"], one["packet_len"], one["batch"]) for one in found["aead"]["speeds"]}
    wanted = {(name, what, *c) for name in available_aeads() for what in ("seal", "open") for c in CELLS}
    assert rows == wanted
    for one in found["aead"]["speeds"]:
        assert one["gbit_per_s"] == pytest.approx(one["packet_len"] * 8 / one["ns"])
        assert one["against_evp"] > 0


CELLS = [(64, 1), (64, 64), (1420, 1), (1420, 64)]


def test_text_says_the_same_in_lines_that_fit() -> None:
    text = bench(as_json=False)
    assert os.uname().release in text
    assert "AEAD: auto takes " in text
    assert " MiB" in text
    for name in ("TSO", "USO", "UDP_SEGMENT", "UDP_GRO"):
        assert name in text
    for name in available_aeads():
        for what in ("seal", "open"):
            rows = [line.split() for line in text.splitlines() if line.split()[:2] == [what, name]]
            assert [len(row) for row in rows] == [2 + 3 * 2] * 2
    assert max(len(line) for line in text.splitlines()[3:]) <= 80
