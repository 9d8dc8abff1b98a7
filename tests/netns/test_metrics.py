"""docs/metrics.md, typed as it is written there: real daemons, scraped by Debian's prometheus; the unit of systemd."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.tunnel.builds import ROOT
from bench.tunnel.command import CommandError
from bench.tunnel.namespace import Namespace
from bench.tunnel.site import poll
from pywg.manage.metrics import families
from tests.manage.metrics.promtool import must, tool
from tests.manage.metrics.test_dashboard import queries
from tests.pages import blocks_in

from .several import FOLDER, Machine, join, ping
from .test_several import machines
from .test_systemd import PATIENCE_S, SHIPPED
from .test_systemd import Site as Unit
from .test_systemd import site as unit

__all__ = ["machines", "unit"]

GROUP = "daemon"
PAGE = (ROOT / "docs/metrics.md").read_text()
METRICS = "http://127.0.0.1:9586/metrics"
PROMETHEUS = "http://127.0.0.1:9090/api/v1"
FETCH = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1], timeout=30).read().decode())"
CLIENT = """
import json, sys, urllib.request
for line in sys.stdin:
    try:
        told = urllib.request.urlopen(line.strip(), timeout=30).read().decode()
    except OSError:
        told = ""
    print(json.dumps(told), flush=True)
"""


def block(beginning: str) -> str:
    """The block of the page that begins so."""
    (found,) = [one for one in blocks_in(PAGE) if one.startswith(beginning)]
    return found


BLOCKS = ("mkdir -p /etc", "systemctl reload", "PYWG_MONITOR_SOCKET", "mkdir -p /var", "rule_files")


def test_every_block_is_typed_below() -> None:
    assert sorted(map(block, BLOCKS)) == sorted(blocks_in(PAGE))


class Client:
    """Asks by HTTP from a namespace, by one process for all that is asked."""

    def __init__(self, namespace: Namespace) -> None:
        pipe = subprocess.PIPE
        argv = ["ip", "netns", "exec", namespace.name, sys.executable, "-c", CLIENT]
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe)

    def fetch(self, url: str) -> str:
        """What is there; nothing while it does not answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{url}\n".encode())
        stdin.flush()
        found: str = json.loads(stdout.readline())
        return found

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def values(page: str, name: str) -> dict[str, float]:
    """Of a metric, by interface."""
    return {one: float(value) for one, value in re.findall(rf'^{name}{{.*?interface="([^"]*)".*?}} (\S+)$', page, re.M)}


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user may look into, as tmp_path is not."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        yield Path(made)


class Prometheus:
    """Debian's, in a machine's namespace, with the configuration of the page and the alerts."""

    def __init__(self, machine: Machine, folder: Path, client: Client) -> None:
        self._client = client
        quick = "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"  # which is also the time that one may take
        (folder / "prometheus.yml").write_text(quick + block("rule_files"))
        (folder / "alerts.yml").write_text((ROOT / "docs/metrics/alerts.yml").read_text())
        must("check", "config", str(folder / "prometheus.yml"))
        self._log = (folder / "prometheus.log").open("wb")
        argv = [tool("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
        argv.append("--web.listen-address=127.0.0.1:9090")
        self.process = machine.namespace.start(argv, stdout=self._log, stderr=self._log)

    def ask(self, path: str, **query: str) -> Any:
        """None while it does not answer."""
        told = self._client.fetch(f"{PROMETHEUS}/{path}?{urllib.parse.urlencode(query)}")
        return json.loads(told)["data"] if told else None

    def value(self, query: str) -> float:
        """Of a query with one result; not a number while there is none."""
        found = self.ask("query", query=query)
        return float(found["result"][0]["value"][1]) if found and len(found["result"]) == 1 else float("nan")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


def exporter(machine: Machine, *arguments: str) -> "subprocess.Popen[bytes]":
    """It serves when this returns."""
    argv = [machine.program(), "metrics", *arguments]
    process = machine.namespace.start(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    lines = [process.stderr.readline()]
    while lines[-1] and b"metrics on" not in lines[-1]:
        lines.append(process.stderr.readline())
    assert lines[-1] == f"pywg: metrics on {METRICS}\n".encode(), lines
    return process


@pytest.mark.parametrize("machines", [1], indirect=True)
def test_prometheus_is_told(machines: tuple[Machine, Machine], folder: Path) -> None:
    near, far = machines
    near.namespace.run("ip", "link", "set", "lo", "up")
    for one in machines:
        one.start("--monitor-socket", GROUP)
    join(near, far, 0)
    ping(near, 0)
    name, other, key = near.names[0], far.names[0], far.public(0)
    names = folder / "names"
    names.write_text(json.dumps({name: {key: "far"}}))
    process = exporter(near, "--names", str(names), name, other, "nosuch")
    client = Client(near.namespace)
    prometheus = Prometheus(near, folder, client)
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"^CapEff:\s0+$", status, re.M)
        assert not re.search(r"^Uid:\t0", status, re.M)

        poll(lambda: prometheus.value(f'pywg_up{{interface="{name}"}}') == 1, "it has scraped")
        knows(prometheus, near, far)
        answers_what_is_asked(prometheus)

        assert {stat for stat in near.stats(name) if not _is_told(stat)} == set(), "statistics without a metric"
        poll(lambda: key in client.fetch(METRICS), "the page has all")
        page = client.fetch(METRICS)
        assert not any(secret in page for secret in (*near.keys, *far.keys))
        assert key in page
        must("check", "metrics", stdin=page.encode())

        prometheus.end()
        hangs_and_ends(near, far, client)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        client.end()
        prometheus.end()
        process.kill()
        process.wait()


def knows(prometheus: Prometheus, near: Machine, far: Machine) -> None:
    """What is so of a tunnel that is up."""
    name, key = near.names[0], far.public(0)
    peer = f'{{interface="{name}",public_key="{key}",peer="far"}}'
    threads = f'pywg_thread_cpu_seconds_total{{interface="{name}",thread=~"pywg|pywg-rx|pywg-tx"}}'
    half = f'histogram_quantile(0.5, pywg_tx_batch_datagrams_bucket{{interface="{name}"}})'
    so: dict[str, Callable[[float], bool]] = {
        'up{job="pywg"}': lambda value: value == 1,
        'pywg_up{interface="nosuch"}': lambda value: value == 0,
        f"pywg_peer_up{peer}": lambda value: value == 1,
        f"pywg_peer_receive_bytes_total{peer}": lambda value: value > 92,
        f"pywg_peer_last_handshake_timestamp_seconds{peer}": lambda value: 0 <= time.time() - value < 180,
        f'pywg_handshakes_total{{interface="{name}"}}': lambda value: value == 1,
        f'pywg_resident_memory_bytes{{interface="{name}"}}': lambda value: value > 1 << 20,
        f"count({threads})": lambda value: value == 3,
        half: lambda value: 0 < value <= 4,
    }
    for query, holds in so.items():  # one after a scrape that took too long is not known for a moment
        poll(lambda query=query, holds=holds: holds(prometheus.value(query)), query)  # type: ignore[misc]
    wanted = {series for metric in families.ALL for series in metric.series}
    poll(lambda: wanted <= set(prometheus.ask("label/__name__/values") or ()), "all names are known")


def answers_what_is_asked(prometheus: Prometheus) -> None:
    """The dashboard's expressions, and the alerts."""

    def with_series() -> int:
        count = 0
        for query in queries():
            asked = query.replace("$__rate_interval", "5m").replace("$instance", ".+").replace("$interface", ".+")
            found = prometheus.ask("query", query=asked)
            assert found is not None, asked
            count += bool(found["result"])
        return count

    poll(lambda: with_series() > 10, "rates, which take two scrapes")
    health = [rule["health"] for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert len(health) == len(re.findall("alert:", (ROOT / "docs/metrics/alerts.yml").read_text()))
    assert set(health) <= {"ok", "unknown"}


def _is_told(name: str) -> bool:
    known = {*families.NUMBERS, *families.LEFT_OUT, "version", "aead", "memory_ceiling"}
    known |= {f"sandbox_{layer}" for layer in families.SANDBOX_LAYERS}
    known |= {f"sandbox_refused_{thread}" for thread in families.SANDBOX_THREADS}
    return name in known or name.startswith(("counter_", "batch_", "offload_", "memory_"))


def hangs_and_ends(near: Machine, far: Machine, client: Client) -> None:
    """A daemon that hangs is down on a page that comes all the same; then it is killed."""
    name, other = near.names[0], far.names[0]
    assert near.daemon is not None

    def up() -> dict[str, float]:
        return values(client.fetch(METRICS), "pywg_up")

    near.daemon.send_signal(signal.SIGSTOP)
    try:
        poll(lambda: up() == {name: 0, other: 1, "nosuch": 0}, "one hangs, the other answers")
    finally:
        near.daemon.send_signal(signal.SIGCONT)
    poll(lambda: up() == {name: 1, other: 1, "nosuch": 0}, "it answers again")
    near.daemon.kill()
    near.daemon.wait()
    poll(lambda: up() == {name: 0, other: 1, "nosuch": 0}, "it is down")


@pytest.mark.parametrize("machines", [1], indirect=True)
def test_who_may_not_ask_is_told_why(machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a socket that is not for monitors is asked, nor one of a group that it is not in."""
    monkeypatch.delenv("PYWG_MONITOR_SOCKET", raising=False)
    near, far = machines
    near.start()
    far.start("--monitor-socket", GROUP)
    program = near.program()
    for user, name, why in (
        ("0:0", near.names[0], "it has no socket for monitors"),
        ("65534:65534", far.names[0], f"{FOLDER}/{far.names[0]}.monitor: Permission denied"),
    ):
        uid, _, gid = user.partition(":")
        argv = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", program, "metrics", "--once", name]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (done.returncode, values(done.stdout, "pywg_up")) == (0, {name: 0})
        assert why in done.stderr
    for user in ("0", "65534"):  # root becomes nobody, in the group; a member of the group stays what it is
        argv = [
            "setpriv",
            f"--reuid={user}",
            f"--regid={user}",
            "--groups=1",
            program,
            "metrics",
            "--once",
            far.names[0],
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (values(done.stdout, "pywg_up"), done.stderr) == ({far.names[0]: 1}, "")


def test_the_unit_and_the_commands_of_the_page(unit: Unit) -> None:
    """As it is installed by the page; names come by a reload; by hand; and what it is confined to."""
    machine, name = unit.machine, unit.interface
    key = unit.lab.far.keys.public
    machine.write("/etc/systemd/system/pywg-metrics.service", (SHIPPED / "pywg-metrics.service").read_text())
    unit.systemctl("start", unit.up)
    try:
        for made in ("True", "False"):
            code = "import sys; sys.path.insert(0, '/opt/source')\n"
            code += "from pywg.manage.service_units import make_group; print(make_group())"
            assert machine.run("/opt/venv/bin/python", "-c", code).split() == [made]
        machine.run("sh", "-ec", block("mkdir -p /etc").replace("wg0", name))
    except CommandError as error:
        raise AssertionError(machine.journal("pywg-metrics")) from error
    unit.passes_traffic()

    def page() -> str:
        try:
            return machine.run("python3", "-c", FETCH, METRICS)
        except CommandError:
            return ""

    def told(*words: str) -> bool:
        shown = page()
        return all(one in shown for one in words)

    poll(lambda: values(page(), "pywg_up") == {name: 1}, "the exporter answers", PATIENCE_S)
    poll(lambda: told(f'public_key="{key}"', 'peer=""'), "the peer", PATIENCE_S)
    config = machine.run("cat", unit.file)
    machine.write(unit.file, config.replace("[Peer]\n", "[Peer]\n# Name = paris\n"))
    machine.run("sh", "-ec", block("systemctl reload"))
    poll(lambda: 'peer="paris"' in page(), "the name", PATIENCE_S)
    pid = machine.property("pywg-metrics", "MainPID")
    status = machine.run("cat", f"/proc/{pid}/status")
    assert re.search(r"^CapEff:\s0+$", status, re.M)
    assert int(re.findall(r"^Uid:\t(\d+)", status, re.M)[0]) >= 61184  # one of systemd's own making
    poll(lambda: values(page(), "pywg_thread_cpu_seconds_total").keys() == {name}, "threads", PATIENCE_S)
    assert machine.property("pywg-metrics", "NRestarts") == "0"
    assert "without" not in machine.journal("pywg-metrics")

    machine.run("pywg", "down", name)
    poll(lambda: machine.property(unit.up, "ActiveState") == "inactive", "the unit has ended", PATIENCE_S)
    said = machine.run("sh", "-ec", "exec 2>&1\n" + block("PYWG_MONITOR_SOCKET").replace("wg0", name))
    assert values(said, "pywg_up") == {name: 1}, said
    machine.run("sh", "-ec", block("mkdir -p /var"))
    collected = machine.run("cat", "/var/lib/prometheus/node-exporter/pywg.prom")
    assert values(collected, "pywg_up") == {name: 1}
    assert unit.lab.near.keys.private not in page() + said + collected
