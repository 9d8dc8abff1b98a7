"""docs/container's recipe by a real engine, podman: built, and two containers of the image that reach each other.

No registry is asked: what the recipe is based on is a root of debootstrap's, under that name. Every layer and process
is in a directory of its own, and gone afterwards. The engine runs in a mount namespace without the second hierarchy of
control groups, beside which crun does not work.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from bench.tunnel.namespace import Namespace
from bench.tunnel.site import poll
from ship.root import Root
from ship.run import ROOT, run
from tests.first_minutes import debian
from tests.first_minutes.__main__ import FAR, NEAR
from tests.installs.story import files

_WITHOUT = 'umount --lazy /sys/fs/cgroup/unified 2>/dev/null; exec podman "$@" 2>&1'
_LIMITS = {"nofile": 1024, "nproc": 1024, "memlock": 8 << 20}
"""The engine would raise what this root may have, which takes a capability that it may lack; these are lower."""
FOLDER = ROOT / "docs" / "container"


class Engine:
    """podman, whose images and containers are below a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._own = ("--root", directory / "images", "--runroot", directory / "run", "--storage-driver", "vfs")
        self._more = ("--cgroup-manager", "cgroupfs", "--events-backend", "file")
        self._directory = directory

    def do(self, *argv: str | Path) -> str:
        """What it prints. SystemExit: it failed; what it said is shown."""
        return run("unshare", "--mount", "sh", "-c", _WITHOUT, "sh", *self._own, *self._more, *argv)

    def build(self, base: Root) -> None:
        """Makes the image `pywg` over a root, by the recipe."""
        (name,) = set(re.findall(r"^FROM (\S+)", (FOLDER / "Containerfile").read_text(), re.M))
        archive = self._directory / "root.tar"
        run("tar", "-C", base.directory, "-cf", archive, ".")
        self.do("import", archive, name)
        archive.unlink()
        recipe = ("--file", FOLDER / "Containerfile", "--tag", "pywg")
        self.do("build", "--isolation", "chroot", "--pull=never", *recipe, ROOT)

    def start(self, name: str, files: Path, namespace: Namespace) -> None:
        """Starts a container as compose.yaml says, in a network namespace."""
        (added,) = re.findall(r"cap_add: \[(.+)\]", (FOLDER / "compose.yaml").read_text())
        limits = [f"--ulimit={limit}={most}:{most}" for limit, most in _LIMITS.items()]
        confined = (
            "--cap-drop=all",
            f"--cap-add={added.replace(' ', '')}",
            "--device=/dev/net/tun",
            "--cgroups=disabled",
        )
        place = (f"--network=ns:/run/netns/{namespace.name}", f"--volume={files}:/etc/wireguard:ro")
        self.do("run", "--detach", "--name", name, *confined, *limits, *place, "pywg", "wg0")

    def end(self) -> None:
        """Ends and removes every container; what is left is files."""
        subprocess.run(
            ["unshare", "--mount", "sh", "-c", _WITHOUT, "sh", *self._own, *self._more, "rm", "--all", "--force"],
            capture_output=True,
            check=False,
        )


def try_engine(base: Root) -> None:
    """The image is built; two containers of it reach each other; one is stopped, of the other the interface goes."""
    with tempfile.TemporaryDirectory(prefix="pywg-engine-") as name, debian.two_networks(NEAR, FAR) as networks:
        engine = Engine(Path(name))
        try:
            engine.build(base)
            for folder, text, namespace in zip(("berlin", "paris"), files(), networks, strict=True):
                path = Path(name) / folder / "wg0.conf"
                path.parent.mkdir(mode=0o700)
                path.touch(mode=0o600)
                path.write_text(text)
                engine.start(folder, path.parent, namespace)
            for folder in ("berlin", "paris"):
                poll(lambda one=folder: "interface is up" in engine.do("logs", one), f"{folder} is up")  # type: ignore[misc]
            said = ""
            for _ in range(3):  # the first packets of a session may be lost
                if "4 answered" in (said := engine.do("exec", "berlin", "pywg", "ping", "paris")):
                    break
            assert "4 answered" in said, said
            shown = engine.do("exec", "berlin", "pywg", "status")
            assert "sandbox     whole" in shown, shown
            print(said, shown, sep="\n")
            engine.do("stop", "berlin")
            assert engine.do("wait", "berlin").split()[-1] == "0"
            networks[1].run("ip", "link", "del", "wg0")
            assert engine.do("wait", "paris").split()[-1] == "1"
            print(engine.do("logs", "paris"))
        finally:
            engine.end()
