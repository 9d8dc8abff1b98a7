"""What each command line means: dropin 1. Only usage is tested here; the daemon itself is faked."""

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import pywg
from pywg.cli import bench
from pywg.cli.main import main
from pywg.errors import ConfigError, TunError
from pywg.manage import client

pytestmark = pytest.mark.dropin("1")

ROOT = Path(__file__).parents[2]


class Calls(list[tuple[object, ...]]):
    """What the faked daemon and statistics were called with; what they return or raise is `outcome`."""

    outcome: int | Exception = 0

    def record(self, *arguments: object) -> int:
        self.append(arguments)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    recorded = Calls()
    fakes: dict[str, ModuleType] = {}
    for module, name, function in (
        ("run", "run", lambda interface, **options: recorded.record("run", interface, options)),
    ):
        fake = fakes.setdefault(module, ModuleType(f"pywg.cli.{module}"))
        setattr(fake, name, function)
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
    monkeypatch.setattr(client, "stats", lambda interface: recorded.record("stats", interface) or {"peers": "2"})
    monkeypatch.setattr(client, "set_level", lambda interface, level: recorded.record("log", interface, level))
    monkeypatch.setattr(bench, "bench", lambda *, as_json: recorded.record("bench", as_json))
    return recorded


@pytest.mark.parametrize(
    ("arguments", "interface", "given"),
    [
        (["wg0"], "wg0", {}),
        (["-f", "wg0"], "wg0", {"foreground": True}),
        (["--foreground", "wg0"], "wg0", {"foreground": True}),
        (["wg0", "-f"], "wg0", {"foreground": True}),
        (["run", "wg0"], "wg0", {}),
        (["run", "-f", "wg0"], "wg0", {"foreground": True}),
        (["run", "run"], "run", {}),
        (["run", "bench"], "bench", {}),
        (["run", "-f", "genkey"], "genkey", {"foreground": True}),
        (["--", "genkey"], "genkey", {}),
        (["run", "help"], "help", {}),
        (["run", "status"], "status", {}),
        (["run", "wg0.conf"], "wg0.conf", {}),
        (["--", "-odd"], "-odd", {}),
        (["run", "--", "-f"], "-f", {}),
        (["-v", "wg0"], "wg0", {"verbose": True}),
        (["wg0", "--verbose", "--log-file=a.log"], "wg0", {"verbose": True, "log_file": "a.log"}),
        (["--no-udp-gso", "wg0"], "wg0", {"udp_gso": False}),
        (["--no-udp-gso-equal-tail", "wg0"], "wg0", {"udp_gso_equal_tail": False}),
        (["--udp-gso-equal-tail", "wg0"], "wg0", {"udp_gso_equal_tail": True}),
        (["--no-udp-gro", "wg0"], "wg0", {"udp_gro": False}),
        (["--no-tun-offload", "wg0"], "wg0", {"tun_offload": False}),
        (["--no-vxlan-offload", "wg0"], "wg0", {"vxlan_offload": False}),
        (["--no-sandbox", "wg0"], "wg0", {"sandbox": False}),
        (["--threads", "4", "wg0"], "wg0", {"threads": "4"}),
        (["wg0", "--threads=auto"], "wg0", {"threads": "auto"}),
        (["--threads", "2", "--threads", "3", "wg0"], "wg0", {"threads": "3"}),
        (["--shards", "4", "wg0"], "wg0", {"shards": "4"}),
        (["wg0", "--shards=3"], "wg0", {"shards": "3"}),
        (["--staged-memory", "64", "wg0"], "wg0", {"staged_memory": "64"}),
        (["--bind-device=eth0", "wg0"], "wg0", {"bind_device": "eth0"}),
        (["--user", "a:b", "--drop-net-admin", "wg0"], "wg0", {"user": "a:b", "drop_net_admin": True}),
        (["--socket-owner=:adm", "wg0"], "wg0", {"socket_owner": ":adm"}),
        (["--monitor-socket", "adm", "wg0"], "wg0", {"monitor_socket": "adm"}),
        (["--listen-address", "::1", "wg0"], "wg0", {"listen_addresses": ("::1",)}),
        (["--listen-address=::", "--listen-address=0.0.0.0", "wg0"], "wg0", {"listen_addresses": ("::", "0.0.0.0")}),
        (["wg%d"], "wg%d", {}),
        (["a" * 15], "a" * 15, {}),
        (["\N{LATIN SMALL LETTER E WITH ACUTE}" * 7], "\N{LATIN SMALL LETTER E WITH ACUTE}" * 7, {}),
        (["..."], "...", {}),
    ],
)
def test_run(calls: Calls, arguments: list[str], interface: str, given: dict[str, object]) -> None:
    assert main(arguments) == 0
    assert calls == [("run", [interface], given)]


def test_run_of_several(calls: Calls) -> None:
    assert main(["run", "wg0", "--threads", "3", "stats", "--", "-w"]) == 0
    assert calls == [("run", ["wg0", "stats", "-w"], {"threads": "3"})]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["wg0", "wg1"], "one interface at a time"),  # as wireguard-go, which knows no more
        (["run", "wg0", "wg1", "wg0"], "wg0 is named twice"),
        (["run", "wg0", "a" * 16], "15"),
        (["run"], "which interface?"),
    ],
)
def test_several_that_are_refused(
    calls: Calls, arguments: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert fault in said
    assert said.count("\n") == 1
    assert calls == []


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["init"], "init needs site-to-site or mesh (see"),
        (["init", "sites"], "init needs site-to-site or mesh, not 'sites' (see"),
        (["systemd"], "systemd needs install or uninstall (see"),
    ],
)
def test_a_word_of_a_command(arguments: list[str], fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"pywg: {fault}")


def test_bench(calls: Calls) -> None:
    assert main(["bench"]) == 0
    assert main(["bench", "--json"]) == 0
    assert calls == [("bench", False), ("bench", True)]


def test_stats(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "wg0"]) == 0
    assert capsys.readouterr().out == "peers=2\n"
    assert main(["stats", "--json", "wg0"]) == 0
    assert json.loads(capsys.readouterr().out) == {"peers": 2}
    assert calls == [("stats", "wg0"), ("stats", "wg0")]


def test_numbers_of_stats_are_numbers_in_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"sandbox_refused_last": "-1", "mtu": "1420", "version": "0.1.0", "aead": "evp", "odd": "--1"}
    monkeypatch.setattr("pywg.manage.client.stats", lambda interface: said)
    assert main(["stats", "--json", "wg0"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {**said, "sandbox_refused_last": -1, "mtu": 1420}
    assert list(found) == list(said)


def test_log(calls: Calls) -> None:
    assert main(["log", "wg0", "debug"]) == 0
    assert calls == [("log", "wg0", "debug")]


@pytest.mark.parametrize("status", [0, 1, 77])
def test_the_daemons_status_is_ours(calls: Calls, status: int) -> None:
    calls.outcome = status
    assert main(["wg0"]) == status


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConfigError("LOG_LEVEL must be a level"), "pywg: LOG_LEVEL must be a level\n"),
        (TunError(1, "needs CAP_NET_ADMIN"), "pywg: needs CAP_NET_ADMIN\n"),
    ],
)
def test_an_error_is_one_line_and_status_1(
    calls: Calls, capsys: pytest.CaptureFixture[str], error: Exception, message: str
) -> None:
    calls.outcome = error
    assert main(["wg0"]) == 1
    assert capsys.readouterr() == ("", message)


@pytest.mark.parametrize(
    "arguments",
    [
        [""],
        ["-f"],
        ["run"],
        ["--"],
        ["stats"],
        ["stats", "a", "b"],
        ["stats", "a/b"],
        ["log"],
        ["log", "wg0"],
        ["bench", "wg0"],
        ["bench", "--nosj"],
        ["stats", "--jsno", "wg0"],
        ["log", "-x", "wg0", "debug"],
        ["help", "wg0"],
        ["help", "run", "run"],
        ["version", "x"],
        ["-v"],
        ["wg0", "--log-file"],
        ["log", "wg0", "debug", "more"],
        ["log", "a/b", "debug"],
        ["wg0", "wg1"],
        ["-x", "wg0"],
        ["--foreground=1", "wg0"],
        ["wg0", "--threads"],
        ["--threads", "wg0"],
        ["--threads=", "wg0"],
        ["--threads", "x", "wg0"],
        ["--threads", "-1", "wg0"],
        ["wg0", "--shards"],
        ["--shards=auto", "wg0"],
        ["wg0", "--staged-memory"],
        ["--staged-memory", "auto", "wg0"],
        ["--staged-memory=16M", "wg0"],
        ["--staged-memory=", "wg0"],
        ["--user=", "wg0"],
        ["wg0", "--monitor-socket"],
        ["--drop-net-admin=1", "wg0"],
        ["-"],
        ["-\n", "wg0"],
        ["."],
        [".."],
        ["a/b"],
        ["a b"],
        ["a\tb"],
        ["a:b"],
        ["a" * 16],
        ["\N{LATIN SMALL LETTER E WITH ACUTE}" * 8],
        ["genkey", "x"],
        ["genpsk", "x"],
        ["pubkey", "-x"],
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    calls: Calls, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pywg: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert calls == []


@pytest.mark.parametrize("argument", ["--version", "-V", "version"])
def test_version(capsys: pytest.CaptureFixture[str], argument: str) -> None:
    assert main([argument]) == 0
    assert capsys.readouterr() == (f"pywg {pywg.__version__}\n", "")


def test_version_is_the_packages() -> None:
    """Which takes it from pywg/__init__.py: it stands in one place."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dynamic"] == ["version"]
    assert importlib.metadata.version(project["name"]) == pywg.__version__


def test_usage_needs_nothing_heavy() -> None:
    heavy = {
        "asyncio",
        "cryptography",
        "uvloop",
        "pyroute2",
        "argparse",
        "socket",
        "subprocess",
        "logging",
        "importlib.metadata",
    }
    code = (
        "import sys; from pywg.cli.main import main\n"
        "main(['--version']); main(['--help']); main(['statuss'])\n"
        f"print(sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stderr.splitlines()[-1] == "[]"


def test_starting_a_daemon_needs_no_help_and_no_parser() -> None:
    """What the command line brings along stays in the daemon's memory for as long as it runs."""
    code = (
        "import sys, types; before = set(sys.modules)\n"
        "sys.modules['pywg.cli.run'] = types.SimpleNamespace(run=lambda interface: 0)\n"
        "from pywg.cli.main import main; assert main(['wg0']) == 0\n"
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('pywg')))\n"
        "print(*sorted(name for name in set(sys.modules) - before if name.startswith('pywg.cli.')))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    others, ours = result.stdout.splitlines()
    assert {"argparse", "shlex", "difflib", "re", "inspect"}.isdisjoint(others.split())
    assert ours == "pywg.cli.commands pywg.cli.main pywg.cli.run pywg.cli.usage pywg.cli.words"


def test_python_m_pywg() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pywg", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout == f"pywg {pywg.__version__}\n"


def test_python_m_pywg_fails_with_mains_status() -> None:
    result = subprocess.run([sys.executable, "-m", "pywg"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (result.returncode, result.stdout) == (2, "")


def test_full_disk_is_status_1_and_one_line() -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "pywg", "genkey"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=ROOT,
        )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert os.strerror(28) in result.stderr
