"""python -m tests.manage.counters_page: writes docs/counters.md, from the words that `pywg status` shows."""

from pathlib import Path

from pywg.manage.reasons import PREFIX, REASONS, WENT_WELL

PAGE = Path(__file__).resolve().parents[2] / "docs" / "counters.md"
_HEAD = """# Counters

`pywg stats IFACE` shows these counters, each with `{prefix}` before its name; `--json` is for programs. `pywg status`
shows the losses that have occurred, with the words below. Counters start at zero with the daemon, and never go back.
Written by `python -m tests.manage.counters_page`.

## What was lost or refused

`tx_` counts what leaves this machine, `rx_` what arrives, and `handshake_` what the control plane refused.

| counter | what it counts | what to do |
|---|---|---|
"""
_WELL = """
## What went well

| counter | what it counts |
|---|---|
"""


def page() -> str:
    """The whole page."""
    lost = (f"| `{name}` | {reason.meaning} | {reason.hint} |\n" for name, reason in REASONS.items())
    well = (f"| `{name}` | {WENT_WELL[name]} |\n" for name in WENT_WELL)
    return _HEAD.format(prefix=PREFIX) + "".join(lost) + _WELL + "".join(well)


if __name__ == "__main__":
    PAGE.write_text(page())
