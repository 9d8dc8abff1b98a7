"""The page: each counter and statistic has its metric, values are the daemon's, and no key but public ones is in it."""

import re
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pywg.config.keys import format_key_base64
from pywg.manage.metrics import answer, families
from pywg.manage.metrics.ask import Answer
from pywg.manage.reasons import PREFIX, REASONS, TRAFFIC
from pywg.runtime.confine.seccomp import Thread
from tests.manage import made

from . import dashboard
from . import page as written
from .promtool import must, promtool

BATCHES = {"batch_tx_1": 3, "batch_tx_4": 2, "batch_tx_16": 0, "batch_tx_64": 7, "batch_tx_256": 1, "batch_tx_more": 4}


def answered(peers: int = 4, **stats: str | int) -> Answer:
    """Of a daemon whose statistics are those and `stats`; each counter has a value of its own."""
    sight = made.sight(peers, tick=10)
    sight.stats |= {f"{PREFIX}{name}": str(number) for number, name in enumerate([*REASONS, *sorted(TRAFFIC)], 1)}
    sight.stats |= {name: str(value) for name, value in {**BATCHES, "handshakes": 41, **stats}.items()}
    return Answer("wg0", sight, seconds=0.25, threads={"pywg": 1.5, "pywg-tx": 2.25})


def page(*answers: Answer, names: answer.Names | None = None) -> str:
    return answer.text(answers, names or {})[0].decode()


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Values by name and labels' values, those of interface left out."""
    return {
        (one.name, tuple(value for label, value in sorted(one.labels.items()) if label != "interface")): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_every_counter_has_a_metric() -> None:
    found = samples(page(answered()))
    for number, name in enumerate([*REASONS, *sorted(TRAFFIC)], 1):
        where = ("pywg_drops_total", (name,)) if name in REASONS else (f"pywg_{name}_total", ())
        assert found[where] == number, name
    assert {"tx_no_peer", "rx_forged"} <= REASONS.keys()
    assert len([key for key in found if key[0] == "pywg_drops_total"]) == len(REASONS)


def test_values_are_the_daemons() -> None:
    found = samples(page(answered(sandbox_refused_loop=2, sandbox_refused_sender=-1, memory_peers=77)))
    assert found["pywg_up", ()] == 1
    assert found["pywg_build_info", ("0.1.0",)] == 1
    assert found["pywg_cipher_info", ("ifma",)] == 1
    assert found["pywg_mtu_bytes", ()] == 1420
    assert found["pywg_handshakes_total", ()] == 41
    assert found["pywg_offload", ("coalesce_udp",)] == 0
    assert found["pywg_sandbox", ("landlock",)] == 7
    assert found["pywg_sandbox_refused_calls_total", ("loop",)] == 2
    assert ("pywg_sandbox_refused_calls_total", ("sender",)) not in found  # it can't be counted
    assert found["pywg_memory_bytes", ("peers",)] == 77
    assert found["pywg_memory_ceiling_bytes", ()] == 21 << 20
    assert ("pywg_memory_bytes", ("ceiling",)) not in found
    assert found["pywg_thread_cpu_seconds_total", ("pywg-tx",)] == 2.25


def test_a_histogram_adds_up() -> None:
    found = samples(page(answered()))
    buckets = [found["pywg_tx_batch_datagrams_bucket", (le,)] for le in ("1.0", "4.0", "16.0", "64.0", "256.0", "+Inf")]
    assert buckets == [3, 5, 5, 12, 13, 17]
    assert found["pywg_tx_batch_datagrams_count", ()] == 17
    assert found["pywg_tx_batch_datagrams_sum", ()] == found["pywg_tx_datagrams_total", ()]
    assert ("pywg_rx_batch_datagrams_count", ()) not in found  # of a daemon that does not tell


@pytest.mark.parametrize("size", ["x", "01", "-1", "", "1e3", "9" * 5000, "10000000000"])
def test_a_bucket_that_is_none_costs_no_page(size: str) -> None:
    """What a daemon tells that was broken into: the page is that of all the others, too."""
    found = samples(page(answered(**{f"batch_tx_{size}": 5}), Answer("wg1", why="down")))
    assert found["pywg_tx_batch_datagrams_count", ()] == 17


def test_peers_have_their_names_and_states() -> None:
    one = answered()
    berlin, _, lisbon, oslo = one.sight.status.peers if one.sight else []
    found = samples(page(one, names={"wg0": {berlin.public_key: 'ber"lin\\'}, "wg1": {lisbon.public_key: "other"}}))
    key = format_key_base64(berlin.public_key)
    assert found["pywg_peer_receive_bytes_total", ('ber"lin\\', key)] == berlin.rx_bytes
    assert found["pywg_peer_transmit_bytes_total", ('ber"lin\\', key)] == berlin.tx_bytes
    assert found["pywg_peer_up", ('ber"lin\\', key)] == 1
    assert found["pywg_peer_last_handshake_timestamp_seconds", ('ber"lin\\', key)] == berlin.last_handshake_ns / 1e9
    silent = ("", format_key_base64(lisbon.public_key))
    assert found["pywg_peer_trouble", silent] == 1
    assert found["pywg_peer_unanswered_initiations", silent] == 7
    assert found["pywg_peer_up", silent] == 0
    assert ("pywg_peer_last_handshake_timestamp_seconds", silent) not in found
    assert found["pywg_peer_trouble", ("", format_key_base64(oslo.public_key))] == 0


def test_no_daemon_is_a_page_too() -> None:
    assert samples(page(Answer("wg0"))) == {("pywg_up", ()): 0}
    assert "# TYPE pywg_up gauge" in page()
    assert samples(page()) == {}


@pytest.mark.parametrize("name", ["a\nb", "\udcff", 'a"b\\', "a{b}"])
def test_odd_names_of_interfaces_spoil_nothing(name: str) -> None:
    text = page(Answer(name), Answer("wg0"))
    assert len(samples(text)) == 1  # but for the interface they are the same
    assert text.count("pywg_up{") == 2
    must("check", "metrics", stdin=text.encode())


def test_promtool_finds_no_fault() -> None:
    text = page(answered())
    must("check", "metrics", stdin=text.encode())
    assert promtool("check", "metrics", stdin=text.replace("pywg_peers gauge", "pywg_peers counter").encode())[0] != 0


@pytest.mark.parametrize("accept", ["", "*/*", "application/openmetrics-text;version=0.0.1,text/plain;q=0.5"])
def test_forms(accept: str) -> None:
    wanted, accept = accept, answer.form_of(accept)
    assert bool(accept) == ("openmetrics" in wanted)
    text, content_type = answer.text([answered()], {}, accept=accept, exporter=True)
    assert b"process_resident_memory_bytes" in text
    assert content_type.startswith("application/openmetrics-text" if accept else "text/plain")
    assert text.endswith(b"# EOF\n") == bool(accept)


def test_every_metric_of_the_table_is_on_the_page() -> None:
    stats = {f"batch_rx_{size}": 1 for size in ("1", "4", "16", "64", "256", "more")} | {
        "tun_rps": 0,
        "tun_steering": 0,
        "lanes": 1,
        "shards": 1,
    }
    stats |= {"processors": 2, "receive_buffer": 1, "send_buffer": 1, "memory_peers": 1, "sandbox_refused_loop": 0}
    found = {name for name, _ in samples(page(answered(turns=0, **stats)))}
    assert {name for metric in families.ALL for name in metric.series} - found == set()
    assert all(metric.name.startswith("pywg_") and metric.help[0].isupper() for metric in families.ALL)
    assert all(metric.name.endswith("_total") == (metric.kind == "counter") for metric in families.ALL)


def test_the_words_for_threads_are_the_sandboxs() -> None:
    assert tuple(one.name.lower() for one in Thread) == families.SANDBOX_THREADS


def test_without_the_package_it_is_one_line() -> None:
    code = """
import sys
sys.modules["prometheus_client"] = None
from pywg.cli.main import main
sys.exit(main(["metrics", "--once"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "pywg: this needs the Python package prometheus-client, which comes with none of pywg's others: "
        f"`{sys.executable} -m pip install prometheus-client` installs it\n"
    )


def test_every_metric_is_in_the_documents() -> None:
    assert written.PAGE.read_text() == written.page(), "python -m tests.manage.metrics.page writes it"
    told = set(re.findall(r"alert: (\w+)", (dashboard.FOLDER / "alerts.yml").read_text()))
    assert told == set(re.findall(r"`(Pywg\w+)`", written.page()))
