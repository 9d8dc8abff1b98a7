"""What a file becomes inside, and what is said of the rest."""

from pathlib import Path

import pytest

from pywg.manage.exec.plan import Plan, plan_of
from pywg.manage.network import Network
from pywg.manage.tunnel import dns, names
from pywg.manage.tunnel.interrupt import Interrupts
from pywg.manage.tunnel.machine import Machine
from pywg.manage.tunnel.names import Target
from pywg.manage.tunnel.peers import peers_of

KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
OTHER = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="


def planned(text: str, folder: Path) -> Plan:
    """Of a file; the file's text with its peer."""
    path = folder / "plan0.conf"
    path.write_text(f"[Interface]\nPrivateKey = {KEY}\n{text}")
    path.chmod(0o600)
    file = names.read(Target("plan0", str(path)))
    with Network() as network:
        machine = Machine("plan0", network, Interrupts())
        return plan_of(file, peers_of(file.config), {}, machine)


def peer(allowed: str) -> str:
    return f"\n[Peer]\nPublicKey = {OTHER}\nAllowedIPs = {allowed}\n"


def test_a_plan_is_the_same_after_its_json_and_has_no_key(tmp_path: Path) -> None:
    plan = planned(
        "Address = 10.0.0.2/24, fd00::2/64\nDNS = 10.0.0.1, inside\nMTU = 1400" + peer("0.0.0.0/0"), tmp_path
    )
    assert Plan.from_json(plan.to_json()) == plan
    assert KEY not in plan.to_json()
    assert plan.notes == []
    assert (plan.servers, plan.search, plan.mtu) == (["10.0.0.1"], ["inside"], 1400)


def test_default_routes_are_plain_routes_and_what_is_connected_is_none(tmp_path: Path) -> None:
    text = "Address = 10.0.0.2/24\nDNS = 10.0.0.1\nTable = 5\nMTU = 1400"
    plan = planned(text + peer("0.0.0.0/0, ::/0, 10.0.0.0/24, 10.0.0.0/25, 192.0.2.0/24"), tmp_path)
    assert plan.routes == ["192.0.2.0/24", "::/0", "0.0.0.0/0"]
    commands = [step.command("plan0") for step in plan.steps()]
    assert commands == [
        "ip -4 address add 10.0.0.2/24 dev plan0",
        "ip link set mtu 1400 up dev plan0",
        "ip -4 route add 192.0.2.0/24 dev plan0",
        "ip -6 route add ::/0 dev plan0",
        "ip -4 route add 0.0.0.0/0 dev plan0",
    ]


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("Table = off", "Table is passed over"),
        ("FwMark = 7", "FwMark is passed over"),
        ("PreUp = x\nPostDown = y", "PreUp, PostDown are not run"),
        ("SaveConfig = true", "SaveConfig is passed over"),
        ("# pywg.Companion = on", "what is for `pywg companion` is passed over"),
    ],
)
def test_what_is_not_done_is_said(line: str, note: str, tmp_path: Path) -> None:
    (said,) = planned(f"DNS = 10.0.0.1\nMTU = 1400\n{line}" + peer("0.0.0.0/0"), tmp_path).notes
    assert said.startswith(note)


@pytest.mark.parametrize(
    ("servers", "allowed", "said"),
    [
        ("nameserver 192.0.2.1\n", "0.0.0.0/0", False),
        ("nameserver 192.0.2.1\n", "10.0.0.0/8", True),
        ("nameserver 127.0.0.53\n", "0.0.0.0/0", True),
        ("nameserver ::1\nnameserver fe80::1%eth0\n", "0.0.0.0/0", True),
        ("nameserver 192.0.2.1\nnameserver 10.1.2.3\n", "10.0.0.0/8", False),
        ("", "0.0.0.0/0", True),
    ],
)
def test_it_is_said_where_no_name_will_resolve(
    servers: str, allowed: str, said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text(servers)
    monkeypatch.setattr(dns, "RESOLV_CONF", str(resolv_conf))
    notes = planned("MTU = 1400" + peer(allowed), tmp_path).notes
    assert [note for note in notes if note.startswith("names may not resolve inside")] == notes
    assert bool(notes) == said
