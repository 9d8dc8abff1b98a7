"""Runs the tools the lab is made of (ip, wg, ethtool, ...), and repeats what they said when they fail."""

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path


class CommandError(RuntimeError):
    """A tool failed; the message holds its command line, its exit status and what it printed."""


def run(
    *argv: str,
    stdin: str | None = None,
    timeout: float = 30.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Runs one command to its end and returns its standard output.

    The command gets a session of its own: a Ctrl-C at the terminal is for us alone, so that the commands which clean up
    run to their end. Raises CommandError for a status other than 0, for a missing tool, and after `timeout` seconds.
    """
    try:
        done = subprocess.run(
            argv,
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=timeout,
            start_new_session=True,
            env=env,
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandError(f"{argv[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"no end after {timeout:g} s: {shlex.join(argv)}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise CommandError(f"status {done.returncode}: {shlex.join(argv)}\n{said}")
    return done.stdout
