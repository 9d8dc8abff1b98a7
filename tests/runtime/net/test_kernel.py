"""Releases as distributions write them, and the decision that hangs on them. Known bug: Linux 7.0-rc1..7.1-rc5."""

import io
import os

import pytest

from pywg.runtime.base.log import Level, Log
from pywg.runtime.daemon.interface import may_segment_equal
from pywg.runtime.daemon.linux import LINUX
from pywg.runtime.daemon.options import read_options
from pywg.runtime.net import kernel
from pywg.runtime.net.kernel import UNKNOWN, damages_equal_tail, parse_release, release
from tests.lines import StreamOutput

DAMAGING = [
    "7.0.0-rc1",
    "7.0-rc1-amd64",
    "7.0.0-rc7+",
    "7.0.0",
    "7.0.0-14-generic",
    "7.0.2-6-pve",
    "7.0.9-arch1-1",
    "7.0.12-200.fc44.x86_64",
    "7.0.250",
    "7.0.0-rc5-1-mainline",
    "7.1.0-rc1",
    "7.1.0-rc5",
    "7.1.0-rc5+",
    "7.1-rc5-arm64",
    "7.1~rc4+1-686",
    "7.1.0-0.rc5.260520g45c4b2.45.fc45.x86_64",
    "7.1.0-rc4-1.g1234567-default",
    "7.1.0-rc5-next-20260521",
    "7.1.0-rc3-00123-gdeadbeef-dirty",
]
SOUND = [
    "6.18.44",
    "6.19.0-rc8",
    "6.19.14-7.0-lowlatency",
    "5.15.0-170-generic",
    "7.1.0-rc6",
    "7.1.0-rc15",
    "7.1.0",
    "7.1",
    "7.1.0-5-rci",
    "7.1.5-1-default",
    "7.2.0-rc1",
    "7.10.0-rc1",
    "70.0.1",
    "17.0.0",
    "8.0.0-rc1",
    "",
    "7",
    "7.x",
    "seven.zero",
    "v7.0.0",
    "-7.0.1",
    "\u0667.\u0660.\u0660",
]


@pytest.mark.known_bug("Linux 7.0-rc1")
@pytest.mark.parametrize("text", DAMAGING)
def test_damages(text: str) -> None:
    assert damages_equal_tail(parse_release(text))


@pytest.mark.known_bug("Linux 7.0-rc1")
@pytest.mark.parametrize("text", SOUND)
def test_does_not_damage(text: str) -> None:
    assert not damages_equal_tail(parse_release(text))


def test_candidates_come_before_their_release_and_after_the_last_one() -> None:
    order = ["6.19.9", "7.0.0-rc1", "7.0-rc2", "7.0.0-rc10", "7.0.0", "7.0.1", "7.1.0-rc1", "7.1.0"]
    assert sorted(order, key=parse_release) == order


@pytest.mark.parametrize("text", ["", "7", "x.y.z", "7.", ".7", "1234567.1.1"])
def test_another_form_is_unknown(text: str) -> None:
    assert parse_release(text) == UNKNOWN


def test_running_kernel() -> None:
    assert ".".join(map(str, release()[:2])) == ".".join(os.uname().release.split(".")[:2]).partition("-")[0]


@pytest.mark.known_bug("Linux 7.0-rc1")
@pytest.mark.parametrize(
    ("text", "environ", "may", "said"),
    [
        ("7.0.2", {}, False, "sent one by one"),
        ("7.0.2", {"PYWG_UDP_GSO_EQUAL_TAIL": "1"}, True, "none the less"),
        ("7.0.2", {"PYWG_UDP_GSO_EQUAL_TAIL": "0"}, False, "sent one by one"),
        ("7.0.2", {"PYWG_UDP_GSO": "0"}, True, None),
        ("7.1.0", {}, True, None),
        ("7.1.0", {"PYWG_UDP_GSO_EQUAL_TAIL": "0"}, False, None),
    ],
)
def test_decision_and_its_line(
    monkeypatch: pytest.MonkeyPatch, text: str, environ: dict[str, str], may: bool, said: str | None
) -> None:
    monkeypatch.setattr(kernel, "release", lambda: parse_release(text))
    lines = io.StringIO()
    assert (
        may_segment_equal(read_options("wg0", environ), LINUX, Log("wg0", Level.WARNING, output=StreamOutput(lines)))
        is may
    )
    assert (said in lines.getvalue()) if said else not lines.getvalue()
