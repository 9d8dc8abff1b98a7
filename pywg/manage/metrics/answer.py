"""Answers of daemons as metrics of prometheus-client, and these as the text that Prometheus reads."""

import re
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from pywg.config.keys import format_key_base64
from pywg.manage.metrics import families
from pywg.manage.metrics.ask import Answer
from pywg.manage.metrics.families import PEER_LABELS, Metric
from pywg.manage.reasons import PREFIX, REASONS
from pywg.manage.sight import Sight
from pywg.manage.units import printable
from pywg.manage.verdict import TROUBLES, State, verdict

Names = Mapping[str, Mapping[bytes, str]]
"""The operator's names of peers, by interface and public key."""
FORMS = ("", "application/openmetrics-text; version=1.0.0")
"""What the page comes in, as an Accept header asks for it: Prometheus's own text, or OpenMetrics."""
_NS = 1_000_000_000
_BATCH = "batch_"
_MORE = "more"
_BUCKET = re.compile(r"[1-9][0-9]{0,8}")


class Answers(Collector):
    """A collector of what daemons have told once."""

    def __init__(self, answers: Iterable[Answer], names: Names) -> None:
        self._page = _Page()
        for answer in answers:
            self._page.interface(answer, names.get(answer.interface, {}))

    def collect(self) -> Iterator[Family]:
        """The families, in the table's order."""
        yield from self._page.families()


def form_of(accept: str) -> str:
    """The one of FORMS that an Accept header asks for."""
    return FORMS["application/openmetrics-text" in accept]


def text(answers: Iterable[Answer], names: Names, *, accept: str = "", exporter: bool = False) -> tuple[bytes, str]:
    """The page, of the form that `accept` asks for, and its content type. `exporter`: with this process's own."""
    registry = CollectorRegistry()
    registry.register(Answers(answers, names))
    if exporter:
        ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Page:
    """Families as they fill."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        for metric in families.ALL:
            labels = PEER_LABELS if metric in families.PEER else ("interface", *metric.labels)
            self._families[metric.name] = _family(metric, labels)

    def families(self) -> Iterator[Family]:
        """Those with samples; of pywg_up alone without, so that a page of no interface still has a metric."""
        for name, family in self._families.items():
            if family.samples or name == families.UP.name:
                yield family

    def interface(self, answer: Answer, names: Mapping[bytes, str]) -> None:
        """Adds what is known of one."""
        label = printable(answer.interface)
        self._add(families.UP, label, value=float(answer.sight is not None))
        if answer.sight is None:
            return
        self._add(families.SECONDS, label, value=answer.seconds)
        self._statistics(label, answer.sight)
        if answer.sight.resident_bytes:
            self._add(families.RESIDENT, label, value=answer.sight.resident_bytes)
        for thread, seconds in sorted(answer.threads.items()):
            self._add(families.CPU, label, printable(thread), value=seconds)
        for peer in answer.sight.status.peers:
            found = verdict(answer.sight, peer)
            trouble = answer.sight.troubles.get(peer.public_key)
            labels = label, format_key_base64(peer.public_key), names.get(peer.public_key, "")
            self._add(families.PEER_UP, *labels, value=float(found.state is State.UP))
            self._add(families.PEER_TROUBLE, *labels, value=float(found.state in TROUBLES))
            self._add(families.PEER_UNANSWERED, *labels, value=trouble.initiations_unanswered if trouble else 0)
            self._add(families.PEER_RX, *labels, value=peer.rx_bytes)
            self._add(families.PEER_TX, *labels, value=peer.tx_bytes)
            if peer.last_handshake_ns:
                self._add(families.PEER_HANDSHAKE, *labels, value=peer.last_handshake_ns / _NS)

    def _statistics(self, label: str, sight: Sight) -> None:
        stats = sight.stats
        self._info(families.BUILD, label, version=stats["version"])
        if "aead" in stats:
            self._info(families.CIPHER, label, backend=stats["aead"])
        numbers = {name: int(value) for name, value in stats.items() if value.isascii() and value.isdecimal()}
        for name, metric in families.NUMBERS.items():
            if name in numbers:
                self._add(metric, label, value=numbers[name])
        for name in REASONS:
            if f"{PREFIX}{name}" in numbers:
                self._add(families.DROPS, label, name, value=numbers[f"{PREFIX}{name}"])
        for name, metric in families.TRAFFIC_METRICS.items():
            if f"{PREFIX}{name}" in numbers:
                self._add(metric, label, value=numbers[f"{PREFIX}{name}"])
        for direction, metric in families.BATCHES.items():
            self._histogram(metric, label, direction, numbers)
        if "memory_ceiling" in numbers:
            self._add(families.CEILING, label, value=numbers.pop("memory_ceiling"))
        for prefix, metric in (("offload_", families.OFFLOADS), ("memory_", families.MEMORY)):
            for name, value in numbers.items():
                if name.startswith(prefix) and name not in families.LEFT_OUT:
                    self._add(metric, label, name.removeprefix(prefix), value=value)
        for layer in families.SANDBOX_LAYERS:
            if f"sandbox_{layer}" in numbers:
                self._add(families.SANDBOX, label, layer, value=numbers[f"sandbox_{layer}"])
        for thread in families.SANDBOX_THREADS:  # a number below 0: this machine can't count them
            if f"sandbox_refused_{thread}" in numbers:
                self._add(families.REFUSED, label, thread, value=numbers[f"sandbox_refused_{thread}"])

    def _histogram(self, metric: Metric, label: str, direction: str, numbers: Mapping[str, int]) -> None:
        prefix = f"{_BATCH}{direction}_"
        sizes = {name.removeprefix(prefix): value for name, value in numbers.items() if name.startswith(prefix)}
        if _MORE not in sizes:
            return
        buckets, calls = [], 0
        for last in sorted(int(size) for size in sizes if _BUCKET.fullmatch(size)):
            calls += sizes[str(last)]
            buckets.append((f"{last}.0", float(calls)))
        buckets.append(("+Inf", float(calls + sizes[_MORE])))
        family = self._families[metric.name]
        assert isinstance(family, HistogramMetricFamily)
        family.add_metric([label], buckets, sum_value=float(numbers.get(f"{PREFIX}{direction}_datagrams", 0)))

    def _info(self, metric: Metric, label: str, **values: str) -> None:
        family = self._families[metric.name]
        assert isinstance(family, InfoMetricFamily)
        family.add_metric([label], {name: printable(value) for name, value in values.items()})

    def _add(self, metric: Metric, *labels: str, value: float) -> None:
        family = self._families[metric.name]
        assert isinstance(family, GaugeMetricFamily | CounterMetricFamily)
        family.add_metric(labels, value)


def _family(metric: Metric, labels: Iterable[str]) -> Family:
    if metric.kind == "counter":
        return CounterMetricFamily(metric.name, metric.help, labels=list(labels))
    if metric.kind == "histogram":
        return HistogramMetricFamily(metric.name, metric.help, labels=list(labels))
    if metric.kind == "info":
        return InfoMetricFamily(metric.name, metric.help, labels=["interface"])
    return GaugeMetricFamily(metric.name, metric.help, labels=list(labels))
