"""The dashboard and the alerts: Grafana's types know all of it, expressions parse, and name metrics that there are."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from pywg.manage.metrics import families

from . import dashboard
from .promtool import must, promtool

ALERTS = dashboard.FOLDER / "alerts.yml"
SERIES = {name for metric in families.ALL for name in metric.series}
LABELS = {"interface", "instance", "job", "le", "thread", "version", "public_key", "peer", "reason", "layer", "offload"}


def unknown(board: dict[str, Any]) -> list[str]:
    """Paths of what Grafana's types do not have, or have otherwise."""
    register_default_plugins()
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(json.dumps(board)))))
    return list(_lost(board, read, ""))


def _lost(ours: Any, theirs: Any, path: str) -> "list[str]":
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [lost for key, one in ours.items() for lost in _lost(one, theirs.get(key), f"{path}.{key}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [lost for number, (one, other) in pairs for lost in _lost(one, other, f"{path}[{number}]")]
    return [] if ours == theirs else [path]


def unknown_names(text: str) -> set[str]:
    return set(re.findall(r"\bpywg_\w+", text)) - SERIES


def rules(expressions: list[str]) -> str:
    """A file of rules that promtool reads; what is Grafana's, filled in."""
    said = [
        one.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$interface", ".*")
        for one in expressions
    ]
    return json.dumps(
        {"groups": [{"name": "d", "rules": [{"record": f"r{number}", "expr": one} for number, one in enumerate(said)]}]}
    )


def queries() -> list[str]:
    return [one for one in dashboard.expressions(dashboard.dashboard()) if not one.startswith("label_values")]


def test_the_file_is_what_is_written() -> None:
    written = json.dumps(dashboard.dashboard(), indent=1) + "\n"
    assert dashboard.FILE.read_text() == written, "python -m tests.manage.metrics.dashboard writes it"


def test_grafanas_types_have_all_of_it() -> None:
    assert unknown(dashboard.dashboard()) == []


@pytest.mark.parametrize("where", ["", "panels.1", "panels.1.targets.0", "panels.1.gridPos", "panels.1.options"])
def test_what_grafana_does_not_know_is_found(where: str) -> None:
    board = json.loads(json.dumps(dashboard.dashboard()))
    at = board
    for step in filter(None, where.split(".")):
        at = at[int(step)] if isinstance(at, list) else at[step]
    at["nosuch"] = 1
    assert [path.rpartition(".")[2] for path in unknown(board)] == ["nosuch"]


def test_panels_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard.dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_expressions_parse(tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(rules(queries()))
    must("check", "rules", str(file))
    file.write_text(rules([*queries(), "sum(pywg_up{)"]))
    assert promtool("check", "rules", str(file))[0] != 0


def test_expressions_name_metrics_and_labels_that_there_are() -> None:
    text = "\n".join([*dashboard.expressions(dashboard.dashboard()), ALERTS.read_text()])
    assert unknown_names(text) == set()
    assert unknown_names(f"{text} pywg_nosuch_total") == {"pywg_nosuch_total"}
    assert set(re.findall(r"\{\{ ?(?:\$labels\.)?(\w+) ?\}\}", text)) - LABELS - {"else", "end"} == set()
    asked = set(re.findall(r"by \(([^)]*)\)|[{,](\w+)=~?\"", text))
    assert {label.strip() for pair in asked for one in pair for label in one.split(",") if label} <= LABELS


def test_the_alerts_tell_what_they_shall_and_nothing_else(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(Path(__file__).parent / "alerts_test.yml", tmp_path)
    must("check", "rules", "alerts.yml", cwd=tmp_path)
    must("test", "rules", "alerts_test.yml", cwd=tmp_path)
    told = set(re.findall(r"alertname: (\w+)", (tmp_path / "alerts_test.yml").read_text()))
    assert told == set(re.findall(r"alert: (\w+)", ALERTS.read_text()))
    (tmp_path / "alerts.yml").write_text(ALERTS.read_text().replace("pywg_peer_trouble == 1", "pywg_peer_trouble == 2"))
    assert promtool("test", "rules", "alerts_test.yml", cwd=tmp_path)[0] != 0
