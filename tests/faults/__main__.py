"""Tries every fault of tests/faults/calls.py and writes docs/faults.md: what becomes of the daemon, row by row.

    python -m tests.faults [--takeovers] [--shards] [CALL ...]    root

All calls, or these alone, whose rows are replaced where they stand; `--takeovers`, `--shards`: in that table alone.
Three quarters of an hour. The exit status is 1 when a daemon did what it should not have done.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults.calls import CASES, LIBUV, Case, number_of
from tests.faults.running import Outcome, Running
from tests.faults.sharded import SHARDS, Sharded
from tests.faults.starts import BACKGROUND, FOREGROUND, MOST, SHARDED, Start, Starter
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
SHARDS_HEADER = f"""
## With shards

The same of a daemon with `--shards {SHARDS}`, in the foreground: under traffic, at its start, and where another one
takes over from it. In these two, errors after a call's first are tried for the calls by which shards are made alone,
and a takeover at {SOME} of the calls. When a fault under traffic is over, packets have to come by each shard, and go by
each queue. "starts with one shard": without a further queue of the TUN, and a line says why. "starts, flows may move":
without the program that keeps a flow in its queue, which `tun_steering` in `pywg stats` tells. Where the port can't be
shared, one thread receives until the sockets are opened anew, and a line says so. The rows at the end single out the
calls by which shards are made.

"""
SHARDS_TABLE = [
    f"| call | errno | with shards: 1 in {ONE_IN} | persistent | at start | a takeover | what tells |",
    "|---|---|---|---|---|---|---|",
]
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
            case.call,
            number_of(error),
            every=every,
            kind=case.kind,
            arguments=case.arguments,
            doing=case.doing,
            fresh=case.fresh,
        )
        columns.append(_failed(found, f"{case.name} {error} {every}", outcome))
        tells += [tell for tell in outcome.tells if tell not in tells]
    return columns[0], columns[1], tells


def _starts(
    starter: Starter, case: Case, error: str, found: list[str], options: tuple[str, ...]
) -> tuple[str, list[str]]:
    became: Counter[str] = Counter()
    tells: list[str] = []
    code, most = number_of(error), _most(case, error, options)
    if not most:
        return "", []
    for number, start in starter.nth(
        case.call, code, kind=case.kind, arguments=case.arguments, most=most, options=options
    ):
        place = " ".join((*options, f"call {number}"))
        found += [f"{case.name} {error} at start, {place}: {fault}; {start.text}" for fault in start.faults]
        became[_became(start)] += 1
        tells += [line for line in start.lines(starter.name) if line not in tells]
    return _counts(became), tells


def _most(case: Case, error: str, options: tuple[str, ...]) -> int:
    """How many of a start's calls are refused with this error, one a start."""
    first = error == case.errors[0]
    if case.takeover:
        return 0
    if options == BACKGROUND:
        return MOST if first and case.background else SOME if first or case.background else 0
    if case.background:
        return 0
    if options == SHARDED:
        return MOST if first or case.shards else 0
    return MOST if first else SOME


def _became(start: Start) -> str:
    if start.faults:
        return f"**{'; '.join(start.faults)}**"
    if start.outcome != "starts":
        return "libuv" if start.ended_by_libuv else "refuses"
    return start.lacks or "starts"


def _takeovers(takeovers: Takeovers, case: Case, error: str, found: list[str], most: int) -> tuple[str, list[str]]:
    became: Counter[str] = Counter()
    tells: list[str] = []
    if case.call == "close":
        return "", []  # the kernel closes whatever it returns; here the command would wait for its own end of a pipe
    for number, one in takeovers.nth(case.call, number_of(error), kind=case.kind, arguments=case.arguments, most=most):
        place = f"takeover, {takeovers.shards} shards, call {number}"
        found += [f"{case.name} {error}, {place}: {fault}; {one.text}" for fault in one.faults]
        became[f"**{'; '.join(one.faults)}**" if one.faults else _outcome(one)] += 1
        tells += [line for line in one.tells if line not in tells]
    return _counts(became), tells


def _outcome(one: Takeover) -> str:
    return "serves on (libuv)" if one.ended_by_libuv else one.outcome


def _counts(became: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(became.items()))


def _row(*cells: str, tells: list[str]) -> str:
    told = "<br>".join([f"`{tell}`" if tell.isidentifier() else tell for tell in dict.fromkeys(tells)])
    return f"| {' | '.join((*cells, told.replace('|', chr(92) + '|')))} |"


def rows(cases: list[Case], found: list[str]) -> Iterator[str]:
    """The lines of the table. What was wrong is put into `found`."""
    with Running() as running, Starter() as starter:
        for case in cases:
            for error in () if case.shards else case.errors:
                some, persistent, tells = _while_running(running, case, error, found)
                started, lines = _starts(starter, case, error, found, FOREGROUND)
                background, more = _starts(starter, case, error, found, BACKGROUND)
                columns = (some, persistent, *_called(case, error, (started, FOREGROUND), (background, BACKGROUND)))
                yield _row(case.name, error, *columns, tells=tells + lines + more)


def _called(case: Case, error: str, *starts: tuple[str, tuple[str, ...]]) -> list[str]:
    """The columns of starts, of which none was tried, or none makes the call."""
    return [text or ("not called" if _most(case, error, options) else "") for text, options in starts]


def takeover_rows(cases: list[Case], found: list[str]) -> Iterator[str]:
    """The lines of the second table."""
    with Takeovers() as takeovers:
        for case in cases:
            for error in () if case.shards else case.errors:
                most = MOST if error == case.errors[0] else SOME
                counts, tells = _takeovers(takeovers, case, error, found, most)
                if counts:
                    yield _row(case.name, error, counts, tells=tells)


def shards_rows(cases: list[Case], found: list[str]) -> Iterator[str]:
    """The lines of the third table."""
    with Sharded() as running, Starter() as starter, Takeovers(SHARDS) as takeovers:
        for case in cases:
            for error in case.errors:
                some, persistent, tells = _while_running(running, case, error, found)
                started, lines = _starts(starter, case, error, found, SHARDED)
                begun = _called(case, error, (started, SHARDED))
                tried = case.shards or error == case.errors[0]
                counts, more = _takeovers(takeovers, case, error, found, SOME) if tried else ("", [])
                if any((some, persistent, *begun, counts)):
                    yield _row(case.name, error, some, persistent, *begun, counts, tells=tells + lines + more)


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


TABLES = (
    ("", HEADER, TABLE, rows),
    ("--takeovers", TAKEOVER_HEADER, TAKEOVER_TABLE, takeover_rows),
    ("--shards", SHARDS_HEADER, SHARDS_TABLE, shards_rows),
)
"""By the option that asks for one alone."""


def main(argv: list[str]) -> int:
    wanted = {option for option, *_ in TABLES} & {*argv} or {option for option, *_ in TABLES}
    calls = [call for call in argv if not call.startswith("-")]
    cases = [case for case in CASES if not calls or case.call in calls]
    found: list[str] = []
    made: dict[str, list[str]] = {option: [] for option, *_ in TABLES}

    def test() -> None:
        for option, _, _, lines in TABLES:
            for line in lines(cases, found) if option in wanted else ():
                print(line, flush=True)
                made[option].append(line)

    run_inside(test, timeout=7200)
    if argv:
        document = DOCUMENT.read_text()
        for option, _, table, _ in TABLES:
            document = replaced(document, table, made[option])
    else:
        excuses = [f"- {call}: {why}.\n" for call, why in LIBUV.items()]
        pages = (header + "\n".join([*table, *made[option]]) + "\n" for option, header, table, _ in TABLES)
        document = "".join([*pages, LIBUV_HEADER, *excuses])
    DOCUMENT.write_text(document)
    print(*found, sep="\n", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
