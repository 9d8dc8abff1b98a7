"""Comments of wg-quick's files that pywg reads: what they may be, and that nothing else is taken for one."""

import pytest

from pywg.config import wg_quick
from pywg.config.quick_extensions import Extensions, HookSetting, read_extensions
from pywg.errors import WgQuickError

KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
FILE = """\
[Interface]
# pywg.Companion = on
# pywg.Failback = 300
# pywg.Hook = handshake,peer_stale /usr/local/lib/tell me
## pywg.hook=all /bin/x
# pywg.HookUser = root
[Peer]
PublicKey = {0}
Endpoint = a.example:1
# pywg.Endpoints = b.example:2, [2001:db8::1]:3
# pywg.Endpoints = 192.0.2.1:4
[Peer] # pywg.no = setting
PublicKey = {0}
Endpoint = c.example:1 # pywg.Endpoints = behind.a.setting:1
"""


def test_all_of_them() -> None:
    found = read_extensions(FILE.format(KEY), "f")
    assert found == Extensions(
        companion=True,
        failback_s=300,
        hooks=[HookSetting(("handshake", "peer_stale"), "/usr/local/lib/tell me"), HookSetting(("all",), "/bin/x")],
        hook_user="root",
        endpoints={0: [("b.example", 2), ("2001:db8::1", 3), ("192.0.2.1", 4)]},
    )
    assert found.wanted


@pytest.mark.parametrize(
    "line",
    [
        *("# Endpoint = b.example:2", "# Endpoints = b.example:2", "#Companion = on", "# pywg", "# pywg is good"),
        *("# Hook = all /bin/true", "# see pywg.Companion = on", "# pywgCompanion = on"),
    ],
)
def test_other_comments_are_none(line: str) -> None:
    for text in (f"[Interface]\n{line}\n", f"[Interface]\n[Peer]\nPublicKey = {KEY}\n{line}\n"):
        assert not read_extensions(text, "f").wanted


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("# pywg.Companion = maybe", "expected"),
        ("# pywg.Companion", "expected"),
        ("# pywg.Failback = 9", "expected 10 to 86400 seconds, or off"),
        ("# pywg.Failback = 86401", "expected 10 to"),
        ("# pywg.Failback = 1e2", "expected 10 to"),
        ("# pywg.Failback = -60", "expected 10 to"),
        ("# pywg.Compagnon = on", "no such setting"),
        ("# pywg.Endpoints = a:1", r"belongs into \[Peer\]"),
        ("# pywg.Hook = handshake", "path"),
        ("# pywg.Hook = handshake bin/x", "path"),
        ("# pywg.Hook = /bin/x", "path"),
        ("# pywg.Hook = , /bin/x", "at least one"),
        ("# pywg.Hook = hands /bin/x", "no event 'hands'"),
        ("# pywg.HookUser = a b", "expected USER"),
        ("# pywg.HookUser = ", "expected USER"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(line: str, error: str) -> None:
    with pytest.raises(WgQuickError, match=error) as caught:
        read_extensions(f"[Interface]\nListenPort = 1\n{line}\n", "f")
    assert caught.value.line == 3


@pytest.mark.parametrize("value", ["a", "a:65536", ":1", "a:1,", ",".join(["a:1"] * 17)])
def test_a_wrong_endpoint_is_told(value: str) -> None:
    with pytest.raises(WgQuickError, match=r"pywg\.Endpoints"):
        read_extensions(f"[Interface]\n[Peer]\n# pywg.Endpoints = {value}\n", "f")


def test_one_is_no_name_of_its_section() -> None:
    text = f"[Interface]\n# pywg.Companion = on\n[Peer]\n# pywg.Endpoints = b:1\nPublicKey = {KEY}\n"
    reading = wg_quick.read(text, "f")
    assert (reading.config.interface.name, reading.config.peers[0].name) == ("", "")
