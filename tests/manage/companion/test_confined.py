"""The worker's sandbox, in a process that enters it: what is gone is gone, and what a resolver needs is there."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.requirements import require_root

INSIDE = """
import json, os, signal, socket, sys, threading
from pywg.manage.companion import resolver
from pywg.manage.companion.confined import confine
from pywg.runtime.base.accounts import read_account

port = int(sys.argv[1])
before = os.open(sys.argv[2], os.O_RDONLY)
missing = confine(read_account("user", "nobody") if os.geteuid() == 0 else None, os.getppid())
found = {"missing": missing}

def attempt(name, work):
    try:
        found[name] = repr(work())
    except BaseException as error:
        found[name] = type(error).__name__

def connect(to):
    with socket.socket() as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", to))

def in_thread(work):
    answers = []
    def run():
        try:
            answers.append(work())
        except BaseException as error:
            answers.append(type(error).__name__)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return answers[0]

attempt("read hosts", lambda: len(open("/etc/hosts").read()) >= 0)
attempt("read shadow", lambda: open("/etc/shadow").read())
attempt("read root's", lambda: open(sys.argv[2]).read())
attempt("write", lambda: open("/tmp/pywg-confined", "w"))
attempt("make", lambda: os.mkdir("/tmp/pywg-confined"))
attempt("execute", lambda: os.execv("/bin/true", ["true"]))
attempt("spawn", lambda: os.posix_spawn("/bin/true", ["true"], {}))
attempt("kill parent", lambda: os.kill(os.getppid(), 0))
attempt("be root", lambda: os.setuid(0))
attempt("listen", lambda: socket.socket().listen())
attempt("connect", lambda: connect(port))
attempt("connect in a thread", lambda: in_thread(lambda: connect(port)))
attempt("udp", lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 53)))
attempt("resolve", lambda: bool(resolver.resolve("localhost")[0]))
attempt("system", lambda: bool(resolver._by_system("localhost")))
found["uid"] = os.getuid()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    require_root()
    secret = tmp_path_factory.mktemp("root") / "secret"
    secret.write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-P", "-c", INSIDE, str(server.getsockname()[1]), str(secret)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_is_gone(inside: dict[str, Any]) -> None:
    assert inside["uid"] != 0
    for what in (
        *("read shadow", "read root's", "write", "make", "execute", "spawn", "kill parent", "be root", "listen"),
        *(["connect"] if "Landlock" not in " ".join(inside["missing"]) else []),
    ):
        assert inside[what] in ("PermissionError", "OSError"), (what, inside[what])
    assert not os.path.exists("/tmp/pywg-confined")


def test_what_a_resolver_needs_is_there(inside: dict[str, Any]) -> None:
    for what in ("read hosts", "resolve", "system"):
        assert inside[what] == "True", (what, inside[what])
    assert inside["udp"] == "1"


def test_threads_are_in_it_too(inside: dict[str, Any]) -> None:
    if "Landlock" in " ".join(inside["missing"]):
        pytest.skip("this kernel has no Landlock")
    assert inside["connect in a thread"] == "'PermissionError'"
