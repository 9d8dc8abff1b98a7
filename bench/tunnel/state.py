"""What is seen of all that this process has started in namespaces: for the message of a wait that was in vain."""

import contextlib
import os
from pathlib import Path

from .command import CommandError, run
from .namespace import Child, Namespace

_TAIL = 2000
"""Characters of the end of each log."""
_FRAMES = 4
"""Functions of the kernel of each thread."""


def describe(folder: Path) -> str:
    """Lines about each namespace, its processes, threads, logs and sockets, and the `folder` of configuration sockets.

    Raises nothing: what can't be seen is left out.
    """
    lines = [line for namespace in Namespace.present.values() for line in _of_namespace(namespace)]
    with contextlib.suppress(OSError):
        lines.append(f"in {folder}, with inodes:")
        lines += sorted(f"  {file.name} {file.inode()}" for file in os.scandir(folder))
    return "\n".join(lines)


def _of_namespace(namespace: Namespace) -> list[str]:
    lines = [f"namespace {namespace.name}:"]
    outputs: dict[str, None] = {}
    for child in namespace.children:
        outputs[child.output] = None
        if (status := child.process.poll()) is not None:
            lines.append(f"  PID {child.process.pid} has ended with status {status}: {_words(child)}")
    with contextlib.suppress(CommandError, OSError):
        for pid in namespace.pids():
            lines += _of_process(pid)
            outputs |= dict.fromkeys(_outputs(pid))
    with contextlib.suppress(CommandError, OSError), namespace.entered():
        for options in ("-Hxanep", "-Huanp"):
            lines += [f"  {' '.join(line.split())}" for line in run("ss", options).splitlines()]
    for output in filter(None, outputs):
        with contextlib.suppress(OSError):
            lines += [f"  the end of {output}:", Path(output).read_text(errors="replace")[-_TAIL:]]
    return lines


def _words(child: Child) -> str:
    return " ".join(map(str, child.process.args)) if isinstance(child.process.args, list) else str(child.process.args)


def _of_process(pid: int) -> list[str]:
    lines = []
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        lines.append(f"  PID {pid}: {words}")
        for task in sorted(Path(f"/proc/{pid}/task").iterdir()):
            lines.append(f"    thread {task.name}: {_of_thread(task)}")
    return lines


def _of_thread(task: Path) -> str:
    said = []
    with contextlib.suppress(OSError):
        fields = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        switches = f"{fields.get('voluntary_ctxt_switches')}+{fields.get('nonvoluntary_ctxt_switches')} switches"
        said = [fields.get("Name", ""), fields.get("State", ""), switches]
    with contextlib.suppress(OSError):
        said.append(f"in {(task / 'wchan').read_text()}")
    with contextlib.suppress(OSError):
        frames = [line.split()[-1] for line in (task / "stack").read_text().splitlines()]
        said.append(" < ".join(frames[:_FRAMES]))
    return ", ".join(said)


def _outputs(pid: int) -> list[str]:
    """The regular files to which the process writes its output."""
    found = []
    for fd in (1, 2):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/fd/{fd}").is_file():
                found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found
