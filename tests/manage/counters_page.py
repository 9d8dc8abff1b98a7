"""python -m tests.manage.counters_page: writes docs/counters.md, from the words that `pywg status` shows."""

from pathlib import Path

from pywg.manage.reasons import PREFIX, REASONS, TRAFFIC

PAGE = Path(__file__).resolve().parents[2] / "docs" / "counters.md"
WENT_WELL = {
    "tx_packets": "packets, and superframes of many, that were read from the interface",
    "tx_datagrams": "datagrams sent",
    "tx_sends": "system calls that sent them: datagrams by sends is how well they are batched",
    "tx_cookie_replies": "cookies sent to senders of handshakes, while there were too many",
    "tx_gso_refused": "sends that the kernel would not cut, and whose datagrams went one by one",
    "tx_lent": "times that the receiving thread took over sending, because there was little",
    "tx_returned": "times that the sending thread took it back",
    "tx_shared": "batches that were left to any free thread",
    "tx_source_cleared": "sends whose local address was gone, and that went from another",
    "tx_unreachable_sent": "ICMP errors to inner senders, whose packets no peer takes",
    "rx_datagrams": "datagrams received",
    "rx_handshakes": "handshake messages whose first MAC held, and which went on to the control plane",
    "rx_keepalives": "keepalives received",
    "rx_packets": "inner packets that went on to the interface",
    "rx_receives": "system calls that received",
    "rx_shared": "batches that were left to any free thread",
    "rx_tun_writes": "writes to the interface: packets by writes is how well they are merged",
}
_HEAD = """# Counters

`pywg stats IFACE` shows these, each with `{prefix}` before its name, and `--json` for programs; `pywg status` shows
those of losses that have occurred, with the words below. They count from the daemon's start, and never go back.
Written by `python -m tests.manage.counters_page`.

## What was lost or refused

`tx_` is on the way out of this machine, `rx_` on the way in, `handshake_` what the control plane refused.

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
    well = (f"| `{name}` | {WENT_WELL[name]} |\n" for name in sorted(TRAFFIC, key=list(WENT_WELL).index))
    return _HEAD.format(prefix=PREFIX) + "".join(lost) + _WELL + "".join(well)


if __name__ == "__main__":
    PAGE.write_text(page())
