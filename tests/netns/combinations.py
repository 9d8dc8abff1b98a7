"""Runs the whole of tests/netns with every combination of privileges, and writes the table of docs/security.md.

    python -m tests.netns.combinations [NAME ...]   by default all of COMBINATIONS, one after another; needs root

A run that has ended puts its row in place of the row of before, so that runs can be done one by one.
"""

import grp
import os
import pwd
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from tests.netns.with_shards import MAY_NEED_ONE_SHARD, NEEDS_ONE_SHARD
from tests.netns.without_net_admin import NEEDS_NET_ADMIN
from tests.netns.without_sandbox import NEEDS_SANDBOX

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parents[1] / "docs" / "security.md"
HEADER = (
    "| combination | revision | passed | fail as they must | failed | what stops working |\n|---|---|---|---|---|---|\n"
)


class Combination(NamedTuple):
    """Variables of the daemons, and what is known not to work with them."""

    variables: dict[str, str]
    stops: str


USER, GROUP = pwd.getpwuid(1).pw_name, grp.getgrgid(1).gr_name
"""An account that every system has, and under which nothing runs."""
WITHOUT_NET_ADMIN = f"what needs CAP_NET_ADMIN, see above: {len(NEEDS_NET_ADMIN)} tests and their parameters"
COMBINATIONS = {
    "user": Combination({"PYWG_USER": "nobody"}, "nothing"),
    "net-admin": Combination({"PYWG_DROP_NET_ADMIN": "1"}, WITHOUT_NET_ADMIN),
    "user-net-admin": Combination({"PYWG_USER": "nobody", "PYWG_DROP_NET_ADMIN": "1"}, WITHOUT_NET_ADMIN),
    "sockets": Combination({"PYWG_SOCKET_OWNER": f"{USER}:{GROUP}", "PYWG_MONITOR_SOCKET": GROUP}, "nothing"),
    "no-sandbox": Combination(
        {"PYWG_SANDBOX": "0"}, f"nothing but the sandbox: {len(NEEDS_SANDBOX)} tests look for it"
    ),
    "shards": Combination(
        {"PYWG_SHARDS": "2"},
        f"nothing: {len(NEEDS_ONE_SHARD) + len(MAY_NEED_ONE_SHARD)} tests count on one shard, "
        f"of which {len(MAY_NEED_ONE_SHARD)} may pass",
    ),
}


NOT_OURS = "wireguard-go is not among the --pairs"
"""Why a test of wireguard-go alone is skipped."""


class Counts(NamedTuple):
    """What became of the tests of a run."""

    passed: int
    as_expected: int
    failed: list[str]


def counted(report: Path) -> Counts:
    """The counts in a file of pytest's --junit-xml. A test that is skipped has failed to show anything.

    But for one of another daemon than pywg, which does not run here.
    """
    passed = as_expected = 0
    failed = []
    for case in ElementTree.parse(report).iter("testcase"):
        outcomes = [child for child in case if child.tag in ("failure", "error", "skipped")]
        if any(child.get("message") == NOT_OURS for child in outcomes):
            continue
        if any(child.get("type") != "pytest.xfail" for child in outcomes):
            failed.append(case.get("name", ""))
        elif outcomes:
            as_expected += 1
        else:
            passed += 1
    return Counts(passed, as_expected, sorted(set(failed)))


def row(name: str, counts: Counts, revision: str) -> str:
    """The line of the table. `revision`: what was run."""
    variables = " ".join(f"{key}={value}" for key, value in COMBINATIONS[name].variables.items())
    failed = str(len(counts.failed)) + (f": {', '.join(counts.failed)}" if counts.failed else "")
    cells = (f"`{variables}`", revision, counts.passed, counts.as_expected, failed, COMBINATIONS[name].stops)
    return f"| {' | '.join(map(str, cells))} |\n"


def with_row(page: str, line: str) -> str:
    """The page with a row in place of the one of the same combination, or else after the others."""
    before, header, after = page.partition(HEADER)
    assert header, "docs/security.md has no table of combinations"
    rows, blank, rest = after.partition("\n" if after.startswith("\n") else "\n\n")
    lines = {_combination(one): one for one in [*rows.splitlines(), line.rstrip("\n")] if one}
    return before + header + "".join(f"{one}\n" for one in lines.values()) + blank[-1:] + rest


def _combination(line: str) -> str:
    return line.partition(" | ")[0]


def run(name: str, report: Path) -> Counts:
    """Runs the tests with a combination."""
    command = [sys.executable, "-m", "pytest", str(TESTS), "--pairs", "pywg:pywg", "-q", f"--junit-xml={report}"]
    subprocess.run(command, env=os.environ | COMBINATIONS[name].variables, cwd=TESTS.parents[1], check=False)
    return counted(report)


def revision() -> str:
    """The commit that is checked out, with a `+` where more than the table has changed since."""
    git = ("git", "-C", str(TESTS))
    commit = subprocess.run((*git, "rev-parse", "--short=7", "HEAD"), check=True, capture_output=True, text=True).stdout
    changed = subprocess.run(
        (*git, "status", "--short"), check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return commit.strip() + "+" * any(not line.endswith(DOCUMENT.name) for line in changed)


def main(names: list[str]) -> int:
    """0 when nothing has failed."""
    for number in (
        signal.SIGINT,
        signal.SIGHUP,
    ):  # ignored in what a shell runs beside itself
        signal.signal(number, signal.SIG_DFL)
    if unknown := set(names) - COMBINATIONS.keys():
        print(f"no combination: {', '.join(sorted(unknown))}; there are {', '.join(COMBINATIONS)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or COMBINATIONS:
        with tempfile.TemporaryDirectory() as folder:
            counts = run(name, Path(folder, "report.xml"))
        DOCUMENT.write_text(with_row(DOCUMENT.read_text(), row(name, counts, revision())))
        failed += len(counts.failed)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
