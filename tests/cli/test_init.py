"""`pywg init` and `qr`: options, questions at a terminal, and what is said of both."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pywg.cli.main import main
from pywg.config.wg_quick import parse
from pywg.manage import qr
from pywg.manage.tunnel import names
from tests.first_minutes.passes import SITE_TO_SITE

ROOT = Path(__file__).parents[2]
SITES = ["--left", "berlin", "--left-endpoint", "198.51.100.1", "--right", "paris"]


def init(folder: Path, *options: str) -> int:
    return main(["init", "site-to-site", *SITES, "--out", str(folder), *options])


def at_a_terminal(folder: Path, answers: list[str], *options: str) -> tuple[int, str]:
    """The status and all that the terminal showed. Each question gets the next answer."""
    pid, terminal = pty.fork()
    if not pid:  # pragma: no cover
        os.chdir(folder)
        os.environ["PYTHONPATH"] = str(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "pywg", "init", "site-to-site", *options])
    shown, left = b"", list(answers)
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        shown += data
        if left and shown.endswith(b": "):
            os.write(terminal, left.pop(0).encode() + b"\n")
    os.close(terminal)
    assert left == []
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode().replace("\r", "")


def test_the_questions_are_those_of_the_first_minutes(tmp_path: Path) -> None:
    """A question that is asked anew would be waited for in vain by tests.first_minutes, which takes ten minutes."""
    status, shown = at_a_terminal(tmp_path, [answer for _, answer in SITE_TO_SITE])
    assert status == 0
    asked = re.findall(r"^ *(.*?)(?: \[.*\])?: ", shown.partition("Written:")[0], re.M)
    assert len(asked) == len(SITE_TO_SITE)
    assert all(question.startswith(begin) for question, (begin, _) in zip(asked, SITE_TO_SITE, strict=True))


def test_ctrl_c_at_a_question(tmp_path: Path) -> None:
    """The line is ended, and what has become of the answers is said."""
    pid, terminal = pty.fork()
    if not pid:  # pragma: no cover
        os.chdir(tmp_path)
        os.environ["PYTHONPATH"] = str(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "pywg", "init", "site-to-site"])
    shown = b""
    while chunk := _read(terminal):
        shown += chunk
        if shown.endswith(b"]: "):
            os.write(terminal, b"\x03")
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert shown.endswith(b"\r\npywg: nothing was written\r\n")
    assert list(tmp_path.iterdir()) == []


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # it has ended
        return b""


def test_two_sites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path, "--left-network", "192.168.1.0/24", "--right-network", "192.168.2.0/24") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert str(tmp_path / "berlin" / "wg0.conf") in out
    for command in ("install -D -m 600 wg0.conf", "sysctl -p", "nft -f wg0.nft", "pywg up wg0", "pywg ping paris"):
        assert command in out
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o77 == 0
    assert len(list(tmp_path.rglob("*.*"))) == 6


def test_a_tunnel_that_is_free(tmp_path: Path) -> None:
    assert init(tmp_path, "--left-network", "10.0.0.0/8", "--right-network", "192.168.2.0/24") == 0
    assert "172.31.99.1/30" in (tmp_path / "berlin" / "wg0.conf").read_text()


def test_nothing_is_overwritten_by_chance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path) == 0
    before = (tmp_path / "paris" / "wg0.conf").read_text()
    assert init(tmp_path) == 1
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "paris" / "wg0.conf").read_text() == before
    assert init(tmp_path, "--force") == 0
    assert (tmp_path / "paris" / "wg0.conf").read_text() != before


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--left-network", "192.168.1.5/24"], 2, "--left-network: 192.168.1.5/24 is an address"),
        (["--right", "berlin"], 2, "--right: this is the name of the first site"),
        (["--tunnel", "10.0.0.0/32"], 2, "--tunnel: 10.0.0.0/32 has room for 1 sites"),
        (["--keepalive", "x"], 2, "--keepalive: not a number in 0..65535"),
        (["--right-network", "198.51.100.0/24"], 2, "would run through itself"),
        (["--interface", "a/b"], 2, "an interface's name"),
        (["--nat", "all"], 2, "--nat"),
        (["--psk", "--no-psk"], 2, "not allowed with"),
    ],
)
def test_wrong_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], status: int, message: str
) -> None:
    assert init(tmp_path, *options) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_nobody_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "site-to-site", "--left", "berlin"]) == 2
    assert "needs --right, --left-endpoint or --right-endpoint" in capsys.readouterr().err
    for arguments in (["init"], ["init", "nothing"], ["init", "mesh"]):
        assert main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_questions(tmp_path: Path) -> None:
    answers = ["", "none", "192.168.1.5/24", "192.168.1.0/24"]
    answers += ["", "none", "", "203.0.113.1", "192.168.1.0/25", "", "perhaps", "n"]
    status, shown = at_a_terminal(tmp_path, answers)
    assert status == 0
    wanted = "is it 192.168.1.0/24?", "one of the two sites needs an address", "of site-b overlap", "expected yes or no"
    for complaint in wanted:
        assert complaint in shown
    (here,) = (path.parent for path in tmp_path.glob("*/wg0.conf") if path.parent.name != "site-b")
    config = parse((here / "wg0.conf").read_text(), "wg0.conf")
    assert config.peers[0].endpoint == ("203.0.113.1", 51820)
    assert config.peers[0].persistent_keepalive == 25
    assert [len(ip) for ip, _ in config.interface.addresses] == [4]


@pytest.mark.parametrize("answers", [["203.0.113.1", "fd00:2::/64", ""], ["203.0.113.1", "", "yes"]])
def test_both_families_by_questions(tmp_path: Path, answers: list[str]) -> None:
    """A network of IPv6 behind a site makes it the default."""
    assert at_a_terminal(tmp_path, answers, *SITES)[0] == 0
    _have_both_families(tmp_path, "berlin", "paris")


def test_both_families_by_an_option(tmp_path: Path) -> None:
    assert init(tmp_path, "--ipv6") == 0
    _have_both_families(tmp_path, "berlin", "paris")
    sites = tmp_path / "sites.csv"
    sites.write_text("name,endpoint\na,198.51.100.1\nb\n")
    for options in (["--ipv6"], []):  # a further run keeps it
        assert main(["init", "mesh", str(sites), *options]) == 0
        _have_both_families(tmp_path / "sites", "a", "b")
    assert main(["init", "mesh", str(sites), "--ipv6", "--tunnel", "10.1.0.0/24,fd00:1::/64", "--force"]) == 0
    assert "fd00:1::1/64" in (tmp_path / "sites" / "a" / "wg0.conf").read_text()


def _have_both_families(folder: Path, *names: str) -> None:
    configs = [parse((folder / name / "wg0.conf").read_text(), name) for name in names]
    for config, other in zip(configs, reversed(configs), strict=True):
        v4, v6 = (ip for ip, _ in config.interface.addresses)
        assert (len(v4), v6[:1], v6[6:15]) == (4, b"\xfd", bytes(9))
        assert [ip for ip, _ in config.peers[0].allowed_ips][:2] == [ip for ip, _ in other.interface.addresses]


def test_only_what_is_not_said_is_asked(tmp_path: Path) -> None:
    assert at_a_terminal(tmp_path, [], *SITES, "--right-endpoint", "none")[0] == 0
    assert at_a_terminal(tmp_path, ["203.0.113.1", "", ""], *SITES, "--force")[0] == 0


def test_answers_that_end(tmp_path: Path) -> None:
    status, shown = at_a_terminal(tmp_path, ["", "none", "\x04"])
    assert status == 1
    assert "nothing was written" in shown
    assert list(tmp_path.iterdir()) == []


def test_a_mesh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sites = tmp_path / "sites.csv"
    sites.write_text("name,endpoint\na,198.51.100.1\nb\nc\n")
    assert main(["init", "mesh", str(sites)]) == 0
    out = capsys.readouterr().out
    assert "3 sites" in out
    assert "no tunnel: 1." in out
    assert (tmp_path / "sites" / "a" / "wg0.conf").exists()
    sites.write_bytes(b"name\na\n\xff\n")
    assert main(["init", "mesh", str(sites)]) == 1
    assert f"{sites}:3:1: not UTF-8" in capsys.readouterr().err
    assert main(["init", "mesh", str(tmp_path / "sites")]) == 1
    assert main(["init", "mesh", str(tmp_path / "nothing")]) == 1


def test_a_code_for_a_phone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path, "--qr") == 0
    assert "▀" in capsys.readouterr().out
    file = tmp_path / "paris" / "wg0.conf"
    file.write_text(file.read_text().replace("\n\n", "\nPostUp = true # x\nTable = off\n\n"))
    assert main(["qr", str(file)]) == 0
    out, err = capsys.readouterr()
    assert err == "pywg: left out, as no phone takes it: Table, PostUp\n"
    text, _ = qr.text_for_phone(file.read_text(), "wg0.conf")
    assert "#" not in text
    assert parse(text, "x").peers[0].public_key == parse(file.read_text(), "x").peers[0].public_key
    import segno

    expected = segno.make(text, error="l", micro=False)
    assert len(out.splitlines()) == (expected.symbol_size(border=2)[1] + 1) // 2


def test_a_code_by_the_name_of_an_interface(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert init(tmp_path) == 0
    monkeypatch.setattr(names, "DIRECTORY", str(tmp_path / "paris"))
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["qr", "wg0"]) == 0
    assert "▀" in capsys.readouterr().out
    assert main(["qr", "wg7"]) == 1
    assert f"there is no {tmp_path}/paris/wg7.conf" in capsys.readouterr().err


def test_a_file_for_no_phone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path) == 0
    file = tmp_path / "paris" / "wg0.conf"
    peer = file.read_text().partition("[Peer]")[2]
    file.write_text(file.read_text() + f"[Peer]{peer}" * 20)
    capsys.readouterr()
    assert main(["qr", str(file)]) == 1
    assert "2953 bytes" in capsys.readouterr().err
    file.write_text("[Interface]\nPrivateKey = x\n")
    assert main(["qr", str(file)]) == 1
    assert ":2:14: PrivateKey" in capsys.readouterr().err


def test_codes_without_their_package(tmp_path: Path) -> None:
    """Nothing is written before the package is looked for, and the line says how to have it."""
    (tmp_path / "segno.py").write_text("raise ModuleNotFoundError('no', name='segno')")
    command = [sys.executable, "-m", "pywg", "init", "site-to-site", *SITES, "--qr", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 1
    assert result.stderr == (
        "pywg: this needs the Python package segno, which comes with none of pywg's others: "
        f"`{sys.executable} -m pip install segno` installs it\n"
    )
    assert not (tmp_path / "out").exists()
