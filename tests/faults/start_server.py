"""Starts daemons one after another, each in a process forked from this one, under an injector.

    inject CONTROL NUMBERS python -m tests.faults.start_server NAME

A line on standard input is the JSON of [arguments of pywg, file for standard error]. The answers are lines with the
process' id, and, at its end, with its exit status. All modules are imported before, so that a refused call is one of
pywg's own, and a start takes no time. From pywg's first line on, the name of each thread begins with NAME.
"""

import encodings.idna  # noqa: F401
import gc
import json
import os
import sys

import pywg.cli.run
import pywg.cli.upgrade
import pywg.cli.words
import pywg.runtime.daemon.background
import pywg.runtime.daemon.linux
import pywg.runtime.daemon.service
import pywg.runtime.daemon.take_over
import pywg.runtime.daemon.witness
import pywg.runtime.net.tun_steering  # noqa: F401
from pywg.cli.main import main


def _child(name: str, argv: list[str], log: str) -> None:
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(fd, 2)
    os.close(fd)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    print(os.getpid(), flush=True)
    os.dup2(null, 1)
    os.close(null)
    # Not closed: from the new name on calls fail, and the close would be the start's first one.
    os.write(os.open("/proc/self/comm", os.O_WRONLY), name.encode())
    status = 1
    try:
        status = main(argv) or 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - as the interpreter would
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def serve(name: str) -> None:
    gc.freeze()
    for line in sys.stdin:
        argv, log = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(name, argv, log)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
