"""Tries every fault of tests/faults/calls.py and writes docs/faults.md: what becomes of the daemon, row by row.

    python -m tests.faults [--takeovers] [CALL ...]    root

All calls, or these alone, whose rows are replaced where they stand; `--takeovers`: in the second table alone. Half an
hour. The exit status is 1 when a daemon did what it should not have done.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults.calls import CASES, LIBUV, Case, number_of
from tests.faults.running import Outcome, Running
from tests.faults.starts import BACKGROUND, FOREGROUND, MOST, Start, Starter
from tests.faults.takeovers import Takeover, Takeovers
from tests.runtime.namespace import run_inside

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
ONE_IN = 3
SOME = 4
HEADER = f"""# When a system call fails

Written by `python -m tests.faults`; some rows of it are part of `make test` (`tests/faults/test_running.py`,
`tests/faults/test_starts.py`, `tests/faults/test_takeovers.py`). The kernel refuses the daemon's calls, wherever in the
process they are made, in libc, in libuv or in libcrypto (seccomp(2) with a listener, `tests/faults/inject.c`).

- **1 in {ONE_IN}**, and **persistent**: a daemon that carries packets both ways while it is configured, asked, taken
  down and up. So many calls failed, and it lived, did not spin (the injector counts all its calls), and carried packets
  and answered `get` when the fault was over. A dash: the kernel would contradict itself, as by EAGAIN after a poll(2)
  that says there is something. "not called": what is done here makes no such call of a running daemon.
- **at start**: the first such call of a start fails, in another start the second, and so on to the last. "starts": so
  often it went on, and was a whole daemon in its sandbox. "refuses": one line on standard error, exit status 1, and no
  interface, socket or process left. "libuv": libuv ended the process, see below. Errors after a call's first are tried
  at {SOME} of its calls.
- **in the background**: the same, of a start in the background as another user (`pywg --user nobody wg0`): with the
  fork, the empty root directory and the change of user. Calls that a start in the foreground makes too fail with their
  first error, {SOME} of them.
- **what tells**: counters of `pywg stats` that grew, lines of the log, what a client of the configuration socket was
  told.

A client whose own connection fails is told nothing but its end.

"""
TABLE = [
    f"| call | errno | 1 in {ONE_IN} | persistent | at start | in the background | what tells |",
    "|---|---|---|---|---|---|---|",
]
TAKEOVER_HEADER = """
## A daemon that takes over

`pywg upgrade`, from its first line until the new daemon is in its sandbox, while packets go both ways: the first such
call of the command and of the new daemon fails, in another takeover the second, and so on to the last; errors after a
call's first at {SOME} of its calls. "takes over": so often the new daemon served, whole, and the old one ended.
"serves on": one line on standard error, exit status 1, and the old one went on with its sessions. Always packets went
on, no counter was used twice (the far end counts replays), there was no new handshake, and no process, descriptor or
parcel was left; but a parcel whose munmap is refused stays, wiped. "(libuv)": libuv ended the new process, see below.
Calls of the daemon that goes are in the table above, after `memfd_create`. close(2) is left out: the kernel closes,
whatever it returns.

""".replace("{SOME}", str(SOME))
TAKEOVER_TABLE = ["| call | errno | a takeover | what tells |", "|---|---|---|---|"]
LIBUV_HEADER = """
## What libuv does not survive

"""


def _failed(found: list[str], what: str, outcome: Outcome) -> str:
    found += [f"{what}: {fault}; {'; '.join(outcome.tells)}" for fault in outcome.faults]
    if outcome.faults:
        return f"**{'; '.join(outcome.faults)}**"
    return str(outcome.failed) if outcome.failed else "not called" if not outcome.matched else f"0 of {outcome.matched}"


def _while_running(running: Running, case: Case, error: str, found: list[str]) -> tuple[str, str, list[str]]:
    if not case.running:
        return "", "", []
    columns, tells = [], []
    for every in (ONE_IN, 1):
        if every == 1 and error in case.once:
            columns.append("-")
            continue
        outcome = running.fault(
            case.call, number_of(error), every=every, kind=case.kind, doing=case.doing, fresh=case.fresh
        )
        columns.append(_failed(found, f"{case.name} {error} {every}", outcome))
        tells += [tell for tell in outcome.tells if tell not in tells]
    return columns[0], columns[1], tells


def _starts(
    starter: Starter, case: Case, error: str, found: list[str], options: tuple[str, ...]
) -> tuple[str, list[str]]:
    became: Counter[str] = Counter()
    tells: list[str] = []
    first = error == case.errors[0]
    if case.takeover:
        return "", []
    if case.background if options == FOREGROUND else not (first or case.background):
        return "", []
    most = MOST if first and (options == FOREGROUND or case.background) else SOME
    for number, start in starter.nth(case.call, number_of(error), kind=case.kind, most=most, options=options):
        place = " ".join((*options, f"call {number}"))
        found += [f"{case.name} {error} at start, {place}: {fault}; {start.text}" for fault in start.faults]
        became[_became(start)] += 1
        tells += [line for line in start.lines(starter.name) if line not in tells]
    return ", ".join(f"{count} {what}" for what, count in sorted(became.items())) or "not called", tells


def _became(start: Start) -> str:
    if start.faults:
        return f"**{'; '.join(start.faults)}**"
    return "libuv" if start.ended_by_libuv else "starts" if start.outcome == "starts" else "refuses"


def rows(cases: list[Case], found: list[str]) -> Iterator[str]:
    """The lines of the table. What was wrong is put into `found`."""
    with Running() as running, Starter() as starter:
        for case in cases:
            for error in case.errors:
                some, persistent, tells = _while_running(running, case, error, found)
                started, lines = _starts(starter, case, error, found, FOREGROUND)
                background, more = _starts(starter, case, error, found, BACKGROUND)
                tells += lines + [line for line in more if line not in lines]
                told = "<br>".join([f"`{tell}`" if tell.isidentifier() else tell for tell in tells])
                cells = (case.name, error, some, persistent, started, background, told.replace("|", "\\|"))
                yield "| " + " | ".join(cells) + " |"


def takeover_rows(cases: list[Case], found: list[str]) -> Iterator[str]:
    """The lines of the second table."""
    with Takeovers() as takeovers:
        for case in cases:
            if case.call == "close":
                continue  # the kernel closes whatever it returns; here the command would wait for its own end of a pipe
            for error in case.errors:
                became: Counter[str] = Counter()
                tells: list[str] = []
                most = MOST if error == case.errors[0] else SOME
                for number, one in takeovers.nth(case.call, number_of(error), kind=case.kind, most=most):
                    found += [
                        f"{case.name} {error}, takeover, call {number}: {fault}; {one.text}" for fault in one.faults
                    ]
                    became[f"**{'; '.join(one.faults)}**" if one.faults else _outcome(one)] += 1
                    tells += [line for line in one.tells if line not in tells]
                if became:
                    counts = ", ".join(f"{count} {what}" for what, count in sorted(became.items()))
                    yield f"| {case.name} | {error} | {counts} | {'<br>'.join(tells).replace('|', chr(92) + '|')} |"


def _outcome(one: Takeover) -> str:
    return "serves on (libuv)" if one.ended_by_libuv else one.outcome


def replaced(document: str, header: list[str], lines: list[str]) -> str:
    """The document with these rows in the place of those of the same calls and errors, in the table with that header;
    new ones are its last."""
    of_call = {tuple(line.split(" | ")[:2]): line for line in lines}
    found = document.splitlines()
    begin = found.index(header[0]) + len(header)
    end = next(at for at in range(begin, len(found) + 1) if at == len(found) or not found[at].startswith("| "))
    rows = [of_call.pop(tuple(line.split(" | ")[:2]), line) for line in found[begin:end]]
    found[begin:end] = [*rows, *of_call.values()]
    return "".join(f"{line}\n" for line in found)


def main(argv: list[str]) -> int:
    calls = [call for call in argv if call != "--takeovers"]
    cases = [case for case in CASES if not calls or case.call in calls]
    found: list[str] = []
    lines: list[str] = []
    more: list[str] = []

    def test() -> None:
        if "--takeovers" not in argv:
            for line in rows(cases, found):
                print(line, flush=True)
                lines.append(line)
        for line in takeover_rows(cases, found):
            print(line, flush=True)
            more.append(line)

    run_inside(test, timeout=7200)
    if argv:
        document = replaced(DOCUMENT.read_text(), TABLE, lines)
        DOCUMENT.write_text(replaced(document, TAKEOVER_TABLE, more))
    else:
        excuses = [f"- {call}: {why}.\n" for call, why in LIBUV.items()]
        tables = "\n".join([*TABLE, *lines]) + "\n" + TAKEOVER_HEADER + "\n".join([*TAKEOVER_TABLE, *more]) + "\n"
        DOCUMENT.write_text(HEADER + tables + LIBUV_HEADER + "".join(excuses))
    print(*found, sep="\n", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
