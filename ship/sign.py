"""python -m ship.sign KEY: signs what of this version is in dist/: SHA256SUMS, its digests, and SHA256SUMS.sig.

With OpenSSH, which is on nearly every machine: KEY is a private key that its maintainer holds, or the public one of a
key in an agent or in a security key (ssh-keygen(1), -Y). docs/releasing.md says how a user checks it. With --check
SIGNERS it does that, by a file of those who may sign.
"""

import argparse
import hashlib
import subprocess
from pathlib import Path

from ship.run import DIST, run, tell

SUMS = "SHA256SUMS"
SIGNER = "pywg"
"""By this name the file of signers has the maintainer's public key."""
NAMESPACE = "file"
"""ssh-keygen's own, so that nothing but the file has to be known to check it."""


def sums(directory: Path, version: str) -> str:
    """The digests of what of a version is in a folder, as `sha256sum --check` reads them. SystemExit: nothing is."""
    names = [f"pywg_tunnel-{version}.tar.gz", f"pywg_tunnel-{version}-*.whl", f"pywg_{version}_*.deb"]
    found = sorted(path for name in names for path in directory.glob(name))
    if not found:
        raise SystemExit(f"ship: nothing of pywg {version} is in {directory}: `make dist` and `make deb` make it")
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in found)


def sign(directory: Path, version: str, key: Path) -> Path:
    """Writes the digests and their signature, whose path is returned. SystemExit: the key can't sign."""
    text, signature = directory / SUMS, directory / f"{SUMS}.sig"
    text.write_text(sums(directory, version))
    signature.unlink(missing_ok=True)  # else ssh-keygen asks
    run("ssh-keygen", "-Y", "sign", "-f", key, "-n", NAMESPACE, text)
    return signature


def check(directory: Path, signers: Path) -> str:
    """What was found to be signed, one name a line. SystemExit: it is not what was signed, or a file is missing."""
    for path in (directory / SUMS, directory / f"{SUMS}.sig", signers):
        if not path.is_file():
            raise SystemExit(f"ship: there is no {path}")
    command = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", SIGNER, "-n", NAMESPACE]
    with (directory / SUMS).open("rb") as text:
        done = subprocess.run(
            [*command, "-s", str(directory / f"{SUMS}.sig")], stdin=text, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise SystemExit(f"ship: {SUMS}: {(done.stdout + done.stderr).strip()}")
    return run("sha256sum", "--check", "--strict", SUMS, cwd=directory)


def main() -> None:
    """Signs, or checks."""
    parser = argparse.ArgumentParser(prog="python -m ship.sign", description=__doc__)
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("key", nargs="?", type=Path, metavar="KEY", help="the key to sign with")
    one.add_argument(
        "--check", type=Path, metavar="SIGNERS", help="check by this file instead (ssh-keygen's ALLOWED SIGNERS)"
    )
    given = parser.parse_args()
    if given.check:
        print(check(DIST, given.check), end="")
    else:
        from ship.deb import version  # noqa: PLC0415

        signature = sign(DIST, version(), given.key)
        tell(f"dist/{SUMS} and dist/{signature.name} are written")


if __name__ == "__main__":
    main()
