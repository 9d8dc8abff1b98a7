"""python -m tests.manage.metrics.dashboard: writes docs/metrics/dashboard.json, the dashboard for Grafana."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "metrics"
FILE = FOLDER / "dashboard.json"
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_OF = 'instance=~"$instance",interface=~"$interface"'
_WIDTH = 24


def _rate(metric: str, more: str = "") -> str:
    return f"rate({metric}{{{_OF}{more}}}[$__rate_interval])"


def _now(metric: str, more: str = "") -> str:
    return f"{metric}{{{_OF}{more}}}"


def _quantile(share: float, direction: str) -> str:
    return f"histogram_quantile({share}, sum by (le) ({_rate(f'pywg_{direction}_batch_datagrams_bucket')}))"


_PEER = "{{interface}} {{peer}} {{public_key}}"
_ROWS: list[tuple[str, list[tuple[str, str, str, int, dict[str, str]]]]] = [
    (
        "Tunnels",
        [
            ("stat", "Daemons that answer", "none", 4, {"up": f"sum({_now('pywg_up')})"}),
            ("stat", "Daemons that do not", "none", 4, {"down": f"count({_now('pywg_up')} == 0) or vector(0)"}),
            ("stat", "Peers up", "none", 4, {"up": f"sum({_now('pywg_peer_up')})"}),
            ("stat", "Peers in trouble", "none", 4, {"trouble": f"sum({_now('pywg_peer_trouble')})"}),
            (
                "stat",
                "Refused system calls",
                "none",
                4,
                {"refused": f"sum({_now('pywg_sandbox_refused_calls_total')})"},
            ),
            ("stat", "Versions", "none", 4, {"{{version}}": f"count by (version) ({_now('pywg_build_info')})"}),
            (
                "timeseries",
                "Throughput",
                "bps",
                12,
                {
                    "{{interface}} received": f"8 * sum by (interface) ({_rate('pywg_peer_receive_bytes_total')})",
                    "{{interface}} sent": f"-8 * sum by (interface) ({_rate('pywg_peer_transmit_bytes_total')})",
                },
            ),
            (
                "timeseries",
                "Packets a second",
                "pps",
                12,
                {
                    "{{interface}} received": f"sum by (interface) ({_rate('pywg_rx_packets_total')})",
                    "{{interface}} datagrams sent": f"-sum by (interface) ({_rate('pywg_tx_datagrams_total')})",
                },
            ),
        ],
    ),
    (
        "Peers",
        [
            (
                "timeseries",
                "Received, the ten most",
                "bps",
                12,
                {_PEER: f"8 * topk(10, {_rate('pywg_peer_receive_bytes_total')})"},
            ),
            (
                "timeseries",
                "Sent, the ten most",
                "bps",
                12,
                {_PEER: f"8 * topk(10, {_rate('pywg_peer_transmit_bytes_total')})"},
            ),
            (
                "timeseries",
                "Age of the last handshake, the ten oldest",
                "s",
                12,
                {_PEER: f"topk(10, time() - {_now('pywg_peer_last_handshake_timestamp_seconds')})"},
            ),
            (
                "timeseries",
                "Initiations without an answer",
                "none",
                8,
                {_PEER: f"topk(10, {_now('pywg_peer_unanswered_initiations')} > 0)"},
            ),
            ("timeseries", "Handshakes", "none", 4, {"{{interface}}": _rate("pywg_handshakes_total")}),
        ],
    ),
    (
        "Losses",
        [
            (
                "timeseries",
                "Lost or refused, by reason (docs/counters.md)",
                "cps",
                16,
                {"{{interface}} {{reason}}": f"sum by (interface, reason) ({_rate('pywg_drops_total')}) > 0"},
            ),
            (
                "timeseries",
                "Handshakes refused in a flood",
                "cps",
                8,
                {"{{interface}} {{reason}}": _rate("pywg_drops_total", ',reason=~"rx_under_load|rx_source_limited"')},
            ),
        ],
    ),
    (
        "Batches",
        [
            (
                "timeseries",
                "Datagrams by system call",
                "none",
                12,
                {
                    "received, half have fewer": _quantile(0.5, "rx"),
                    "received, nine of ten have fewer": _quantile(0.9, "rx"),
                    "sent, half have fewer": _quantile(0.5, "tx"),
                    "sent, nine of ten have fewer": _quantile(0.9, "tx"),
                },
            ),
            (
                "timeseries",
                "Packets by write to the interface",
                "none",
                12,
                {"{{interface}}": f"{_rate('pywg_rx_packets_total')} / ({_rate('pywg_rx_tun_writes_total')} > 0)"},
            ),
        ],
    ),
    (
        "Daemons",
        [
            ("timeseries", "Memory of the process", "bytes", 8, {"{{interface}}": _now("pywg_resident_memory_bytes")}),
            (
                "timeseries",
                "Processors in use, by thread",
                "percentunit",
                8,
                {"{{interface}} {{thread}}": _rate("pywg_thread_cpu_seconds_total")},
            ),
            ("timeseries", "Time to answer", "s", 8, {"{{interface}}": _now("pywg_answer_seconds")}),
            ("timeseries", "Time since the start", "s", 8, {"{{interface}}": _now("pywg_uptime_seconds")}),
            (
                "timeseries",
                "Sandbox: what is not given up",
                "none",
                8,
                {"{{interface}} {{layer}}": f"{_now('pywg_sandbox')} == 0"},
            ),
            (
                "timeseries",
                "Offloads that are off",
                "none",
                8,
                {"{{interface}} {{offload}}": f"{_now('pywg_offload')} == 0"},
            ),
        ],
    ),
]
"""Rows of panels: each has a kind, a title, a unit, a width, and expressions by their legend."""


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in _ROWS:
        place = {"h": 1, "w": _WIDTH, "x": 0, "y": y}
        panels.append(
            {"type": "row", "id": len(panels) + 1, "title": title, "collapsed": False, "gridPos": place, "panels": []}
        )
        y, x, height = y + 1, 0, 0
        for kind, name, unit, width, expressions in row:
            if x + width > _WIDTH:
                x, y = 0, y + height
            height = 4 if kind == "stat" else 8
            place = {"h": height, "w": width, "x": x, "y": y}
            panels.append(_panel(kind, name, unit, expressions, number=len(panels) + 1, place=place))
            x += width
        y += height
    return {
        "title": "pywg",
        "uid": "pywg",
        "description": "WireGuard tunnels by pywg, as `pywg metrics` tells of them",
        "tags": ["pywg", "wireguard"],
        "editable": True,
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_source(), _variable("instance"), _variable("interface", 'instance=~"$instance"')]},
        "panels": panels,
    }


def expressions(board: dict[str, Any]) -> list[str]:
    """All that a dashboard asks Prometheus, its variables included."""
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    return found + [one["query"] for one in board["templating"]["list"] if one["type"] == "query"]


def _panel(
    kind: str, title: str, unit: str, expressions: dict[str, str], *, number: int, place: dict[str, int]
) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend, "datasource": _SOURCE}
        for index, (legend, expression) in enumerate(expressions.items())
    ]
    panel: dict[str, Any] = {"type": kind, "id": number, "title": title, "datasource": _SOURCE, "gridPos": place}
    panel["targets"] = targets
    panel["fieldConfig"] = {"defaults": {"unit": unit}, "overrides": []}
    if kind == "stat":
        panel["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "textMode": "auto"}
    return panel


def _source() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _variable(name: str, within: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "query": f"label_values(pywg_up{{{within}}}, {name})" if within else f"label_values(pywg_up, {name})",
        "datasource": _SOURCE,
        "includeAll": True,
        "multi": True,
        "refresh": 2,
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=1) + "\n")
