"""python -m tests.manage.metrics.page: writes the table at the end of docs/metrics.md, from the table of metrics."""

from pathlib import Path

from pywg.manage.metrics.families import ALL

PAGE = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
_HEAD = "| metric | what |\n|---|---|\n"


def page() -> str:
    """The whole page."""
    rows = []
    for metric in ALL:
        labels = f" ({', '.join(f'`{label}`' for label in metric.labels)})" if metric.labels else ""
        name = metric.name if metric.kind != "info" else metric.series[0]
        kind = " (histogram)" if metric.kind == "histogram" else ""
        rows.append(f"| `{name}`{labels}{kind} | {metric.help} |\n")
    return PAGE.read_text().partition(_HEAD)[0] + _HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page())
