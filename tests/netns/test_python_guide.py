"""The examples of docs/python.md, typed as they are written there, at a program whose far end is wireguard-go."""

import base64
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from bench.tunnel.builds import ROOT
from bench.tunnel.site import poll
from tests.pages import blocks_in

from .python_world import LONG_S, World, world

PAGE = "docs/python.md"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("guide")) as made:
        made.begin_peer()
        made.write(made.text())
        yield made


@pytest.fixture(scope="module")
def examples() -> list[str]:
    """Blocks that no test has taken yet."""
    return blocks_in((ROOT / PAGE).read_text())


def start(there: World, examples: list[str], *having: str) -> "subprocess.Popen[str]":
    """Starts the example that has these words."""
    (block,) = [block for block in examples if all(word in block for word in having)]
    examples.remove(block)
    text = block.replace("wg0", there.name).replace("192.0.2.2:51820", "192.0.2.2:7000")
    text = text.replace('"PRIVATE_KEY"', f'"{there.keys[0]}"').replace("PEER_PUBLIC_KEY", there.public[1])
    path = there.folder / "example.py"
    path.write_text(text)
    return there.start(f"import os, runpy; os.chdir({str(there.folder)!r}); runpy.run_path({str(path)!r})")


def said(program: "subprocess.Popen[str]") -> str:
    text, _ = program.communicate(timeout=LONG_S)
    assert program.returncode == 0
    return text


def test_the_first_example(there: World, examples: list[str]) -> None:
    assert f"{there.public[1][:4]}…" in said(start(there, examples, "name_of"))
    there.nothing_is_left()


def test_peers_and_events(there: World, examples: list[str]) -> None:
    lines = said(start(there, examples, "tunnel.events")).splitlines()
    assert lines[0].startswith("peer_added ")
    assert lines[-1].startswith("peer_up ")
    there.nothing_is_left()


def test_a_daemon_and_another_that_is_attached_to_it(there: World, examples: list[str]) -> None:
    assert said(start(there, examples, "attach")) == "seccomp 1 user 65534\n"
    there.nothing_is_left()


def test_errors(there: World, examples: list[str]) -> None:
    assert said(start(there, examples, "WgQuickError")) == "public_key must be a key of 44 characters of base64\n"
    there.nothing_is_left()


def test_keys_that_another_program_writes(there: World, examples: list[str]) -> None:
    """The other program is a test, which does what Rosenpass does to its `key_out`; Ctrl-C ends the example."""
    folder = there.folder / "rosenpass"
    folder.mkdir(mode=0o700)
    program = start(there, examples, "KEY_OUT")

    def key() -> str:
        shown = there.near.run("sh", "-c", f"wg show {there.name} preshared-keys 2>/dev/null || true")
        return shown.split()[-1] if shown else ""

    poll(lambda: key() == "(none)", "it is up, and has no key", LONG_S)
    for _ in range(2):
        new = base64.b64encode(os.urandom(32)).decode()
        (folder / "new").write_text(f"{new}\n")
        (folder / "new").rename(folder / "peer.key")
        poll(lambda new=new: key() == new, "the key is set", LONG_S)  # type: ignore[misc]
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=LONG_S)
    there.nothing_is_left()


def test_every_example_was_typed(examples: list[str]) -> None:
    assert examples == []
