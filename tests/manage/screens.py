"""The pictures of `pywg status` and `pywg top` in docs/, of made-up interfaces.

python -m tests.manage.screens               writes docs/status.svg and docs/top.svg
python -m tests.manage.screens --png DIR     all sizes as PNG too, to be looked at: needs rsvg-convert (librsvg2-bin)
"""

import argparse
import io
import re
import subprocess
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pywg.manage.sight import Sight, rates
from pywg.manage.status_text import Room, interface_lines, painted
from pywg.manage.top import Model
from pywg.manage.top_loop import Top
from tests.manage import made

DOCS = Path(__file__).parents[2] / "docs"
SIZES = ((80, 24), (120, 40))
PEERS = (1, 5, 50)
TICKS = 60
PICTURES = {"status": (100, 40, 3), "top": (110, 30, 16)}
"""(columns, lines, peers) of each picture in docs/."""


def status(columns: int, lines: int, peers: int) -> str:
    """The screen of `pywg status`, with colours."""
    before, after = made.sight(peers, tick=TICKS - 1), made.sight(peers, tick=TICKS)
    return painted(interface_lines(after, rates(before, after), Room(columns, lines - 1)), color=True)


def top(columns: int, lines: int, peers: int, *, by: str = "rx/s", first: int = 0) -> str:
    """The screen of `pywg top`, with colours."""
    shown = Top("wg0", 1.0)
    shown.model = model(peers)
    shown.by, shown.first = by, first
    return shown.drawn(columns, lines)


def model(peers: int) -> Model:
    """What top has seen of one interface in a minute."""
    ticks = iter(range(TICKS))
    found = Model(names=lambda interface: made.sight(peers).names, threads_of=lambda pid: made.threads(next(ticks)))
    for tick in range(TICKS):
        sights: dict[str, Sight] = {"wg0": made.sight(peers, tick=tick)}
        found.take(sights, {})
    return found


def svg(text: str, columns: int, title: str) -> str:
    """A terminal's text as a picture, in the fonts of the machine that shows it: nothing is fetched."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(Text.from_ansi(text), soft_wrap=True)
    picture = console.export_svg(title=title, unique_id="screen")
    picture = re.sub(r"\s*@font-face \{.*?\}\n", "", picture, flags=re.S)
    picture = picture.replace("<text ", '<text xml:space="preserve" ')
    return picture.replace("Fira Code, monospace", "DejaVu Sans Mono, Menlo, Consolas, monospace")


def main() -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--png", metavar="DIR", type=Path)
    directory = parser.parse_args().png
    screens = {"status": status, "top": top}
    for what, (columns, lines, peers) in PICTURES.items():
        (DOCS / f"{what}.svg").write_text(svg(screens[what](columns, lines, peers), columns, f"pywg {what}"))
    if directory is None:
        return
    directory.mkdir(parents=True, exist_ok=True)
    for what, draw in screens.items():
        for columns, lines in SIZES:
            for peers in PEERS:
                path = directory / f"{what}-{columns}x{lines}-{peers}.svg"
                path.write_text(svg(draw(columns, lines, peers), columns, f"pywg {what}"))
                subprocess.run(["rsvg-convert", "-o", path.with_suffix(".png"), path], check=True)


if __name__ == "__main__":
    main()
