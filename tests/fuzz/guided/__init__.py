"""Targets in Python that coverage guides: what reached a new line or branch is kept, changed and tried again.

`python -m tests.fuzz.guided --seconds 600 wg_quick`. A target (targets/) is a function of bytes and of nothing
else, which raises when something is wrong. atheris, libFuzzer for Python, finds the bytes; without it the kept ones can
be run all the same.
"""

import importlib.util
import sys
from dataclasses import dataclass

from tests.fuzz.fuzzer import Fuzzer, libfuzzer

NOT_HERE = "atheris has no wheel for this Python or machine"


@dataclass(frozen=True)
class Target:
    """`run(data)` of the module of that name in tests/fuzz/guided/targets/."""

    guides: tuple[str, ...]
    """the modules and packages whose lines and branches count"""
    max_len: int
    """bytes of the longest input"""


TARGETS = {
    "client": Target(("pywg.cli", "pywg.config", "pywg.runtime.base.processors"), 1024),
    "handover": Target(
        ("pywg.runtime.daemon.take_over", "pywg.runtime.base.parcel", "pywg.runtime.device.carried", "pywg.core"), 4096
    ),
    "netlink": Target(("pywg.runtime.net", "pyroute2.netlink"), 1024),
    "options": Target(("pywg.cli", "pywg.config", "pywg.runtime.daemon.options", "pywg.runtime.base"), 512),
    "tunnel": Target(("pywg.core", "pywg.runtime.device"), 512),
    "uapi": Target(("pywg.config", "pywg.runtime.uapi", "pywg.runtime.device", "tests.fuzz.guided.uapi_model"), 2048),
    "wg_quick": Target(("pywg.config",), 1024),
}


def is_here() -> bool:
    """Whether this Python has atheris."""
    return importlib.util.find_spec("atheris") is not None


def fuzzers() -> list[Fuzzer]:
    """One for each target; none where there is no atheris."""
    return [fuzzer(name) for name in TARGETS] if is_here() else []


def fuzzer(name: str, options: tuple[str, ...] = ()) -> Fuzzer:
    """The fuzzer of one target, with further options of libFuzzer's."""
    program = (sys.executable, "-m", "tests.fuzz.guided.program", name)
    again = ("python", "-m", "tests.fuzz.guided", name, "--run")
    return libfuzzer(name, program, options=(f"-max_len={TARGETS[name].max_len}", *options), again=again)
