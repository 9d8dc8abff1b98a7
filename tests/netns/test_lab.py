"""The lab itself: what is left of one that was killed is cleared away, and nothing else."""

import signal
import subprocess
import sys
from pathlib import Path

from bench.tunnel.lab import Lab, remove_orphans

from .conftest import OpenLab

KILLED = """
import os, signal
from bench.tunnel.lab import Lab
with Lab("pywg", "pywg") as lab:
    print(*(f"{site.namespace.name} {site.uapi_socket} {site.log.parent}" for site in lab.sites), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _namespaces(lab: Lab) -> list[str]:
    return [site.namespace.name for site in lab.sites]


def test_orphans_are_removed_and_living_labs_are_not(open_lab: OpenLab) -> None:
    living = open_lab("pywg", "pywg", connect=False)
    ended = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    words = ended.stdout.split()
    names, files = words[::3], [Path(word) for word in words[1::3] + words[2::3]]
    assert all(Path("/run/netns", name).exists() for name in names)
    assert all(path.exists() for path in files)
    assert set(remove_orphans()) >= set(names)
    assert not any(Path("/run/netns", name).exists() for name in names)
    assert not any(path.exists() for path in files)
    assert all(Path("/run/netns", name).exists() for name in _namespaces(living))
    assert all(site.alive() for site in living.sites)
    assert set(remove_orphans()).isdisjoint(_namespaces(living))
