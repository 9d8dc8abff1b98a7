"""`pywg top` at work: looks at the daemons, draws, and hears keys, until it is to end."""

import time
from collections.abc import Callable

from rich.console import Console

from pywg.errors import DeviceError
from pywg.manage import client
from pywg.manage.sight import Sight, glance, serving
from pywg.manage.terminal import EndedError, Terminal
from pywg.manage.top import DEFAULT_COLUMN, Model
from pywg.manage.top_screen import columns_after, screen, too_small

_FEWEST_COLUMNS, _FEWEST_LINES = 60, 12
_SHARE = 10
"""Of the time between two looks, the share that looking may take: with very many peers, looks get rarer."""


class Top:
    """What is watched, and how it is shown. `interface` None: all that run, those that come later too."""

    def __init__(self, interface: str | None, interval: float, *, color: bool = True) -> None:
        self._interface = interface
        self._interval = interval
        self._color = color
        self.model = Model()
        self.by = DEFAULT_COLUMN
        self.backwards = False
        self.first = 0
        self._page = 1
        self._took = 0.0

    def run(self, terminal: Terminal) -> str:
        """Until a key or a signal ends it; what there is to say then, "" for nothing. Raises DeviceError at the start
        when there is nothing to watch."""
        ended = self.look()
        if ended:
            return ended
        with terminal.taken():
            try:
                return self._watch(terminal)
            except EndedError:
                return ""

    def _watch(self, terminal: Terminal) -> str:
        due = time.monotonic() + self._interval
        while True:
            terminal.draw(self.drawn(*terminal.size()))
            left = due - time.monotonic()
            if left <= 0:
                if ended := self.look():
                    return ended
                due = time.monotonic() + max(self._interval, _SHARE * self._took)
                continue
            for key in terminal.wait(left) or ():
                if not self.press(key):
                    return ""

    def look(self) -> str:
        """Takes a look; says so when there is nothing left to look at."""
        began = time.monotonic()
        sights: dict[str, Sight] = {}
        refused: dict[str, str] = {}
        error: DeviceError | None = None
        for name in [self._interface] if self._interface else client.served():
            try:
                sights[name] = glance(name)
                sights[name].troubles = {one.public_key: one for one in client.troubles(name)}
                sights[name].daemon = serving(name) or sights[name].daemon
            except DeviceError as failed:
                sights.pop(name, None)
                refused[name] = failed.strerror or str(failed)
                error = failed
        self._took = time.monotonic() - began
        if not sights:
            if error is not None and not self.model.sights:
                raise error
            return f"{self._interface or 'the last interface'} has ended" if self.model.sights else "nothing runs"
        self.model.take(sights, refused)
        return ""

    def press(self, key: str) -> bool:
        """Does what a key asks for. False: it is to end."""
        move: dict[str, Callable[[], int]] = {
            "up": lambda: self.first - 1,
            "down": lambda: self.first + 1,
            "page up": lambda: self.first - self._page,
            "page down": lambda: self.first + self._page,
            "home": lambda: 0,
            "end": lambda: 1 << 30,
        }
        if key in ("q", "Q", "escape"):
            return False
        if key in ("left", "right"):
            self.by = columns_after(self.by, 1 if key == "right" else -1)
        elif key in ("r", "R"):
            self.backwards = not self.backwards
        elif key in move:
            self.first = max(move[key](), 0)
        return True

    def drawn(self, columns: int, lines: int) -> str:
        """The screen as text."""
        console = Console(
            width=columns,
            height=lines,
            force_terminal=True,
            color_system="standard" if self._color else None,
            no_color=not self._color,
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._page = max(lines - 12, 1)
        with console.capture() as capture:
            if columns < _FEWEST_COLUMNS or lines < _FEWEST_LINES:
                console.print(too_small(columns, lines))
            else:
                shown, self.first = screen(
                    self.model, columns=columns, lines=lines, by=self.by, backwards=self.backwards, first=self.first
                )
                console.print(shown)
        return capture.get()
