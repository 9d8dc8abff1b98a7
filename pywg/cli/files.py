"""`pywg check`, `strip` and `save`: wg-quick's files as text."""

import argparse
from typing import TYPE_CHECKING

from pywg.cli.color import open_output
from pywg.cli.parser import CommandParser

if TYPE_CHECKING:
    from pywg.manage.check import Report

_CHECK = """\
Reports every error in wg-quick files, and settings that are unlikely to be
meant. It changes nothing. The exit status is 1 for an error, 0 for warnings.
"""
_STRIP = """\
Prints what `wg setconf` takes of a wg-quick file, as `wg-quick strip` does.
"""
_SAVE = """\
Writes what runs into the interface's file: keys, peers, port, addresses. As
`wg-quick save`, but comments, names, hooks and host names stay in it.
"""
_BOTH = "a file NAME.conf, or the name of an interface"


def define_check(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = _CHECK
    parser.add_argument("files", metavar="FILE|NAME", nargs="+", help="a file, or the name of an interface")
    parser.add_argument("--json", action="store_true", help="a JSON list with an object for each file")
    parser.set_defaults(execute=_check)


def define_strip(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = _STRIP
    parser.add_argument("target", metavar="FILE|NAME", help=_BOTH)
    parser.set_defaults(execute=_strip)


def define_save(parser: CommandParser) -> None:
    """Adds the command's arguments."""
    parser.description = _SAVE
    parser.add_argument("target", metavar="FILE|NAME", help=_BOTH)
    parser.set_defaults(execute=_save)


def _check(given: argparse.Namespace) -> int:
    from pywg.manage.check import check

    reports = [check(one) for one in given.files]
    if given.json:
        import json

        print(json.dumps([report.as_dict() for report in reports], indent=2))
    else:
        for report in reports:
            _print(report)
    return int(any(report.errors for report in reports))


def _print(report: "Report") -> None:
    for finding in report.findings:
        print(f"{report.file}:{finding.line}:{finding.column}: {finding.severity}: {finding.message}")
        if finding.excerpt:
            print(finding.excerpt)
    if not report.findings:
        print(f"{report.file}: nothing to find fault with")


def _strip(given: argparse.Namespace) -> int:
    from pywg.config import quick_strip
    from pywg.config.wg_quick import as_text
    from pywg.manage.tunnel import names

    target = names.find(given.target)
    text = quick_strip.strip(as_text(names.load(target)), target.path)
    output = open_output()
    output.flush()
    output.buffer.write(text.encode("utf-8", "surrogateescape"))
    return 0


def _save(given: argparse.Namespace) -> int:
    from pywg.manage.tunnel import names, save

    target = names.find(given.target)
    for line in save.save(target):
        print(line)
    print(f"{target.path} has what runs")
    return 0
