"""What wg(8) takes of a wg-quick file: `pywg strip`, byte for byte what `wg-quick strip` prints.

Better in two cases, where wg refuses what wg-quick prints: a byte order mark is left out, and space inside a setting's
or a section's name is nothing, as it is for wg.
"""

from typing import Final

from pywg.config.quick_lines import QUICK_NAMES, SPACE, folded
from pywg.errors import WgQuickError

_QUICK: Final = frozenset(name.lower() for name in QUICK_NAMES)


def strip(text: str, file: str) -> str:
    """The lines of `text` without those of wg-quick's own settings. WgQuickError: SaveConfig is no truth value."""
    *lines, last = text.removeprefix("\ufeff").split("\n")
    kept = []
    in_interface = False
    for number, whole in enumerate([*lines, last], 1):
        line = whole.replace("\0", "").strip(" \t")  # as bash's read
        if number > len(lines) and not line:
            break
        name, _, value = line.partition("#")[0].partition("=")
        name = folded(name)
        if name.startswith("["):
            in_interface = name == "[interface]"
        if in_interface and name in _QUICK:
            if name == "saveconfig" and value.strip(SPACE).lower() not in {"true", "false"}:
                raise WgQuickError('SaveConfig: expected "true" or "false"', file=file, line=number)
            continue
        kept.append(f"{line}\n")
    return "".join([*kept, "\n"])
