"""QR codes of wg-quick's files, for WireGuard on phones."""

import sys
from dataclasses import replace

from pywg.config.wg_quick import InterfaceSection, format, parse
from pywg.errors import ConfigError

_ONLY_HERE = {
    "fwmark": "FwMark",
    "table": "Table",
    "pre_up": "PreUp",
    "post_up": "PostUp",
    "pre_down": "PreDown",
    "post_down": "PostDown",
    "save_config": "SaveConfig",
}
"""What no phone takes: its application refuses the whole file for one of these."""
_MOST_BYTES = 2953
"""Of the largest code at the lowest level of correction (ISO/IEC 18004)."""


def require() -> None:
    """Raises ModuleNotFoundError when codes can't be made here."""
    import segno  # noqa: F401, PLC0415


def text_for_phone(text: str, file: str) -> tuple[str, list[str]]:
    """The file as a phone takes it, and what was left out. Raises ConfigError when it can't be."""
    config = parse(text, file)
    without = InterfaceSection()
    left_out = [said for name, said in _ONLY_HERE.items() if getattr(config.interface, name) not in (None, [], False)]
    config.interface = replace(config.interface, name="", **{name: getattr(without, name) for name in _ONLY_HERE})
    config.peers = [replace(peer, name="") for peer in config.peers]
    written = format(config)
    if len(written.encode("utf-8", "surrogateescape")) > _MOST_BYTES:
        raise ConfigError(f"{file} has more than the {_MOST_BYTES} bytes that a QR code holds")
    return written, left_out


def show(text: str, file: str) -> list[str]:
    """Writes the code to standard output, and returns what was left out of it. Raises ConfigError."""
    import segno  # noqa: PLC0415

    written, left_out = text_for_phone(text, file)
    code = segno.make(written, error="l", micro=False)
    code.terminal(out=sys.stdout, compact=_has_blocks(), border=2)
    return left_out


def _has_blocks() -> bool:
    try:
        "▀▄█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
