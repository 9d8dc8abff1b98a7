"""Releases are signed, and what is not what was signed is told. With throwaway keys."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ship.sign import NAMESPACE, SIGNER, SUMS, check, sign, sums
from tests.requirements import require_tool

from .commands import blocks

VERSION = "1.2.3"
MADE = ("pywg_tunnel-1.2.3.tar.gz", "pywg_tunnel-1.2.3-cp311-abi3-manylinux_2_34_x86_64.whl", "pywg_1.2.3_amd64.deb")
OLDER = "pywg_tunnel-1.2.2.tar.gz"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with what is made of this version, and of another."""
    require_tool("ssh-keygen")
    folder = tmp_path / "dist"
    folder.mkdir()
    for name in (*MADE, OLDER):
        (folder / name).write_text(name)
    return folder


def new_key(folder: Path, name: str) -> tuple[Path, Path]:
    """A private key, and a file that lets it sign."""
    key, signers = folder / name, folder / f"{name}.signers"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    signers.write_text(f'{SIGNER} namespaces="{NAMESPACE}" {key.with_suffix(".pub").read_text()}')
    return key, signers


def test_what_is_signed_is_this_version(made: Path, tmp_path: Path) -> None:
    key, signers = new_key(tmp_path, "key")
    for _ in range(2):  # over an older signature, too
        sign(made, VERSION, key)
    assert check(made, signers) == "".join(f"{name}: OK\n" for name in sorted(MADE))


def test_a_user_checks_it_as_the_page_says(made: Path, tmp_path: Path) -> None:
    key, _ = new_key(tmp_path, "key")
    sign(made, VERSION, key)
    trust, verify, _ = (block.text for block in blocks("docs/releasing.md"))
    public = key.with_suffix(".pub").read_text().strip()
    assert "ssh-ed25519 AAAA..." in trust
    subprocess.run(["sh", "-ec", trust.replace("ssh-ed25519 AAAA...", public)], cwd=made, check=True)
    (made / MADE[2]).unlink()  # it was not downloaded
    typed = ["sh", "-ec", verify]
    done = subprocess.run(typed, cwd=made, check=True, capture_output=True, text=True)
    assert 'Good "file" signature for pywg' in done.stdout
    (made / MADE[1]).write_text("other")
    assert subprocess.run(typed, cwd=made, check=False, capture_output=True).returncode == 1


def test_a_file_that_is_another_is_told(made: Path, tmp_path: Path) -> None:
    key, signers = new_key(tmp_path, "key")
    sign(made, VERSION, key)
    (made / MADE[1]).write_text("other")
    with pytest.raises(SystemExit, match=r"whl: FAILED"):
        check(made, signers)


def test_digests_that_are_others_are_told(made: Path, tmp_path: Path) -> None:
    key, signers = new_key(tmp_path, "key")
    sign(made, VERSION, key)
    (made / MADE[0]).write_text("other")
    (made / SUMS).write_text(sums(made, VERSION))
    with pytest.raises(SystemExit, match=r"[Ii]ncorrect signature"):
        check(made, signers)


def test_a_key_of_another_is_told(made: Path, tmp_path: Path) -> None:
    _, signers = new_key(tmp_path, "key")
    other, _ = new_key(tmp_path, "other")
    sign(made, VERSION, other)
    with pytest.raises(SystemExit, match=r"NO_MATCHING_PRINCIPAL|[Cc]ould not verify"):
        check(made, signers)


def test_a_public_key_alone_signs_nothing(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = new_key(tmp_path, "key")
    public = shutil.move(key.with_suffix(".pub"), tmp_path / "alone.pub")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(SystemExit, match="ssh-keygen"):
        sign(made, VERSION, Path(public))


def test_nothing_is_not_signed(made: Path, tmp_path: Path) -> None:
    key, _ = new_key(tmp_path, "key")
    with pytest.raises(SystemExit, match=r"nothing of pywg 9\.9\.9"):
        sign(made, "9.9.9", key)


def test_a_file_that_is_missing_is_named(made: Path, tmp_path: Path) -> None:
    _, signers = new_key(tmp_path, "key")
    with pytest.raises(SystemExit, match=rf"there is no .*{SUMS}"):
        check(made, signers)
