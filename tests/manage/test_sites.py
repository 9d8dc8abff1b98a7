"""The files of two sites and of a mesh: what they say fits together, and a further run keeps what is there."""

import itertools
import subprocess
from pathlib import Path

import pytest

from pywg.config.addresses import format_prefix
from pywg.config.wg_quick import WgQuickConfig, parse
from pywg.errors import ConfigError
from pywg.manage.sites import folder, here, mesh, site_to_site, table
from pywg.manage.sites.site import (
    Site,
    check_together,
    parse_endpoint,
    parse_name,
    parse_networks,
    parse_tunnel,
)
from tests.requirements import require_tool

CSV = """\
# the mesh
name, endpoint, networks, address
berlin, 198.51.100.1, 192.168.1.0/24 192.168.9.0/24,
paris, paris.example.org:51821, "192.168.2.0/24, fd00:2::/64", 10.99.0.77
lyon,,192.168.3.0/24
oslo
"""
TOML = """\
[[site]]
name = "berlin"
endpoint = "198.51.100.1"
networks = ["192.168.1.0/24", "192.168.9.0/24"]

[[site]] # second
name = "paris"
endpoint = "paris.example.org:51821"
networks = "192.168.2.0/24, fd00:2::/64"
address = "10.99.0.77"

[[site]]
name = "lyon"
networks = ["192.168.3.0/24"]

[[site]]
name = "oslo"
"""
TUNNEL = parse_networks("10.99.0.0/16")


def two(*, tunnel: str = "10.99.0.0/30", psk: bool = True, **options: object) -> dict[str, WgQuickConfig]:
    left = Site("berlin", parse_endpoint("198.51.100.1"), parse_networks("192.168.1.0/24"))
    right = Site("paris", None, parse_networks("192.168.2.0/24,fd00:2::/64"))
    site_to_site.join(left, right, parse_tunnel(tunnel, 2), **options)  # type: ignore[arg-type]
    files = site_to_site.files(left, right, interface="wg0", psk=psk)
    return {name: parse(text, name) for name, text in files.items() if name.endswith(".conf") and "sysctl" not in name}


def test_two_sites_fit_together() -> None:
    berlin, paris = two().values()
    (to_paris,), (to_berlin,) = berlin.peers, paris.peers
    assert (berlin.interface.name, to_berlin.name, to_paris.name) == ("berlin", "berlin", "paris")
    assert to_paris.preshared_key == to_berlin.preshared_key
    assert to_paris.preshared_key not in (None, two()["berlin/wg0.conf"].peers[0].preshared_key)
    assert (to_paris.endpoint, to_berlin.endpoint) == (None, ("198.51.100.1", 51820))
    assert (to_paris.persistent_keepalive, to_berlin.persistent_keepalive) == (None, 25)
    assert [format_prefix(prefix) for prefix in to_paris.allowed_ips] == [
        "10.99.0.2/32", "192.168.2.0/24", "fd00:2::/64",
    ]  # fmt: skip
    assert [format_prefix(prefix) for prefix in paris.interface.addresses] == ["10.99.0.2/30"]
    assert berlin.interface.listen_port == 51820
    assert berlin.interface.mtu is None


def test_options_of_two_sites() -> None:
    berlin, paris = two(tunnel="10.0.0.0/31 fd00:99::/127", psk=False, keepalive=7).values()
    assert [format_prefix(prefix) for prefix in berlin.interface.addresses] == ["10.0.0.0/31", "fd00:99::/127"]
    assert [format_prefix(prefix) for prefix in paris.interface.addresses] == ["10.0.0.1/31", "fd00:99::1/127"]
    assert berlin.peers[0].preshared_key is None
    assert paris.peers[0].persistent_keepalive == 7
    assert two(nat=["paris", "berlin"])["paris/wg0.conf"].peers[0].persistent_keepalive == 25
    assert two(keepalive=0)["paris/wg0.conf"].peers[0].persistent_keepalive is None


@pytest.mark.netns  # wg-quick wants root even for `strip`
@pytest.mark.parametrize("interface", ["wg0", "a-b_c.d"])
def test_the_tools_take_the_files(tmp_path: Path, interface: str) -> None:
    left = Site("berlin", parse_endpoint("198.51.100.1"), parse_networks("192.168.1.0/24 10.7.0.0/16"))
    right = Site("paris", parse_endpoint("[2001:db8::1]:7"), parse_networks("192.168.2.0/24,fd00:2::/64"))
    site_to_site.join(left, right, parse_tunnel("10.99.0.0/30,fd00:99::/64", 2))
    files = site_to_site.files(left, right, interface=interface, psk=True)
    folder.write_all(str(tmp_path), files, force=False)
    for name in files:
        path = str(tmp_path / name)
        if name.endswith(".nft"):
            subprocess.run([require_tool("nft"), "--check", "--file", path], check=True)
        elif name.endswith("-sysctl.conf"):
            assert "net.ipv4.ip_forward = 1" in files[name]
        else:
            subprocess.run([require_tool("wg-quick"), "strip", path], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("left", "right", "tunnel", "message"),
    [
        (Site("a"), Site("b"), "10.9.0.0/30", "needs an endpoint"),
        (Site("a", ("x", 1)), Site("a"), "10.9.0.0/30", "both sites are called a"),
        (
            Site("a", ("x", 1), parse_networks("10.0.0.0/8")),
            Site("b"),
            "10.9.0.0/30",
            "of a and 10.9.0.0/30 of the tun",
        ),
        (
            Site("a", ("x", 1), parse_networks("10.0.0.0/8")),
            Site("b", None, parse_networks("10.1.0.0/16")),
            "10.9.0.0/30",
            "10.0.0.0/8 of a and 10.1.0.0/16 of b overlap",
        ),
        (Site("a", ("10.1.2.3", 1), parse_networks("10.1.0.0/16")), Site("b"), "10.9.0.0/30", "run through itself"),
    ],
)
def test_sites_that_can_not_be_joined(left: Site, right: Site, tunnel: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        site_to_site.join(left, right, parse_tunnel(tunnel, 2))


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "-a", "a b", "ä", "a" * 33, "a\n"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_name(text)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("198.51.100.1", ("198.51.100.1", 51820)),
        ("198.51.100.1:7", ("198.51.100.1", 7)),
        ("2001:db8::1", ("2001:db8::1", 51820)),
        ("[2001:db8::1]", ("2001:db8::1", 51820)),
        ("[2001:db8::1]:7", ("2001:db8::1", 7)),
        ("a_b.example-1.org.:65535", ("a_b.example-1.org.", 65535)),
    ],
)
def test_endpoints(text: str, endpoint: tuple[str, int]) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "a:0",
        "a:65536",
        "a:",
        ":1",
        "a b",
        "a,b",
        "1.2.3",
        "1.2.3.4.5",
        "::g",
        "[::1]7",
        "[::1",
        "a#b",
        "a..b",
        "-a",
        "a\nb",
    ],
)
def test_what_is_no_endpoint(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("192.168.1.5/24", "is it 192.168.1.0/24?"),
        ("0.0.0.0/0", "everything"),
        ("10.0.0.0/8, 10.1.0.0/16", "overlap"),
        ("10.0.0.0/8, 10.0.0.0/8", "overlap"),
        ("lan", "expected networks such as"),
        ("10.0.0.0/33", "expected networks such as"),
    ],
)
def test_what_are_no_networks(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_networks(text)


@pytest.mark.parametrize(
    ("text", "hosts", "message"),
    [
        ("10.0.0.0/32", 2, "room for 1 sites"),
        ("10.0.0.0/30", 3, "room for 2 sites"),
        ("10.0.0.0/30,10.1.0.0/30", 2, "one of each"),
        ("", 2, "expected one network"),
    ],
)
def test_what_is_no_tunnel(text: str, hosts: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_tunnel(text, hosts)


def test_overlaps_are_found_behind_others() -> None:
    """The nearest network before one in the order need not be the one around it."""
    sites = [Site("a", None, parse_networks("10.0.0.0/8")), Site("b", None, parse_networks("11.0.0.0/8"))]
    check_together(sites, [])
    sites.append(Site("c", ("10.200.0.1", 1)))
    with pytest.raises(ConfigError, match=r"10\.200\.0\.1 of c is inside 10\.0\.0\.0/8 of a"):
        check_together(sites, [])


def test_networks_of_this_machine() -> None:
    head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    row = "{}\t{}\t{}\t{}\t0\t0\t0\t{}\t0\t0\t0\n"
    rows = [
        ("eth0", "00000000", "0101A8C0", "0003", "00000000"),
        ("eth0", "0001A8C0", "00000000", "0001", "00FFFFFF"),
        ("eth1", "0002A8C0", "00000000", "0001", "00FFFFFF"),
        ("eth1", "0003A8C0", "0102A8C0", "0003", "00FFFFFF"),
        ("eth2", "00000008", "00000000", "0001", "000000FF"),
        ("docker0", "000011AC", "00000000", "0001", "0000FFFF"),
    ]
    v4 = head + "".join(row.format(*one) for one in rows)
    assert here.networks_of(v4, "") == "192.168.2.0/24"
    row = "{} {:02x} " + "0" * 32 + " 00 {} 00000100 00000001 00000000 {:08x}     {}\n"
    nowhere, router = "0" * 32, "fe80" + "0" * 27 + "1"
    rows_v6 = [
        ("fd000002" + "0" * 24, 64, nowhere, 0x1, "eth1"),
        ("20010db800020000" + "0" * 16, 64, nowhere, 0x40001, "eth1"),
        ("20010db800030000" + "0" * 16, 64, router, 0x3, "eth1"),
        ("20010db800020000" + "0" * 15 + "1", 128, nowhere, 0x80200001, "eth1"),
        ("20010db800010000" + "0" * 16, 64, nowhere, 0x1, "eth0"),
        ("20010db800040000" + "0" * 16, 64, nowhere, 0x1, "eth3"),
        ("fd000009" + "0" * 24, 64, nowhere, 0x201, "eth1"),
        ("fd000005" + "0" * 24, 64, nowhere, 0x1, "docker0"),
        ("fe80" + "0" * 28, 64, nowhere, 0x1, "eth1"),
        ("ff00" + "0" * 28, 8, nowhere, 0x1, "eth1"),
        (nowhere, 0, router, 0x3, "eth3"),
        (nowhere, 0, nowhere, 0x200200, "lo"),
    ]
    v6 = "".join(row.format(*one) for one in rows_v6)
    assert here.networks_of(v4, v6) == "192.168.2.0/24, fd00:2::/64, 2001:db8:2::/64"
    assert here.networks_of("", "") == ""
    assert parse_name(here.this_machine().name)


@pytest.mark.parametrize(
    ("text", "file"), [(CSV, "m.csv"), (TOML, "m.toml"), (CSV.replace("\n", "\r\n"), "m"), ("\ufeff" + CSV, "m")]
)
def test_tables(text: str, file: str) -> None:
    entries = table.parse(text, file)
    assert [entry.site.name for entry in entries] == ["berlin", "paris", "lyon", "oslo"]
    assert [entry.site.endpoint for entry in entries[:3]] == [
        ("198.51.100.1", 51820), ("paris.example.org", 51821), None,
    ]  # fmt: skip
    assert [len(entry.site.networks) for entry in entries] == [2, 2, 1, 0]
    assert entries[1].address == [bytes([10, 99, 0, 77])]


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("name,networks\na,10.0.0.0/8\nb, 10.0.0.5/24", "3:4", "networks: 10.0.0.5/24 is an address"),
        ("name;endpoint\na;1.2.3", "2:3", "endpoint: not an IP address"),
        ("name\tendpoint\n\nä\t1.2.3.4", "3:1", "name: expected"),
        ("name,endpoint\n,1.2.3.4", "2:1", "name: a site needs one"),
        ("name\na\n# b\na", "4:1", "a is also the name of line 2"),
        ("name,address\na,10.0.0.1\nb,10.0.0.1", "3:3", "address of line 2"),
        ("name,address\na,10.0.0.1/8", "2:3", "address: not an IP address"),
        ("nam,endpoint", "1:1", "expected one of the columns"),
        ("name,name", "1:6", "there already"),
        ("endpoint,networks", "1:1", "no column `name`"),
        ("name,networks\na,10.0.0.0/8,10.0.0.0/8", "2:14", "quotation marks"),
        ('name,networks\na,"10.0.0.0/8', "2:3", "this quotation mark"),
        ('name,networks\na,"10.0.0.0/8"x', "2:3", "this quotation mark"),
    ],
)
def test_errors_in_csv(text: str, place: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        table.parse(text, "m.csv")
    assert str(caught.value).startswith(f"m.csv:{place}: ")


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('[[site]]\nname = "a"\n[[site]]\nname = "b"\nnetworks = ["10.0.0.5/24"]', "5:12", "is it 10.0.0.0/24?"),
        ('[[site]]\nname = "a"\nport = 7', "3:8", "expected one of the keys"),
        ("[[site]]\nname = 7", "2:8", "expected a string"),
        ('[[site]]\nendpoint = "a"', "1:1", "name: a site needs one"),
        ('[[site]]\nname = "a', "2:10", "."),
        ('[[site]]\nname == "a"', "2:7", "."),
        ('[site]\nname = "a"', "1:1", r"expected \[\[site\]\]"),
        ('[[sites]]\nname = "a"', "1:1", r"expected \[\[site\]\]"),
    ],
)
def test_errors_in_toml(text: str, place: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        table.parse(text, "m.toml")
    assert str(caught.value).startswith(f"m.toml:{place}: ")


@pytest.mark.parametrize(("text", "file"), [("", "m.csv"), ("name\n", "m.csv"), ("site = []", "m.toml")])
def test_an_empty_table(text: str, file: str) -> None:
    with pytest.raises(ConfigError, match="no site"):
        table.parse(text, file)


def build(text: str, path: Path, *, psk: bool = True, force: bool = False) -> mesh.Outcome:
    entries = table.parse(text, "m.csv")
    return mesh.make(entries, TUNNEL, folder=str(path), interface="wg0", psk=psk, force=force)


def configs(path: Path) -> dict[str, WgQuickConfig]:
    return {file.parent.name: parse(file.read_text(), str(file)) for file in path.glob("*/wg0.conf")}


def test_a_mesh_fits_together(tmp_path: Path) -> None:
    assert build(CSV, tmp_path) == (4, 0, 0, [], 1)
    found = configs(tmp_path)
    assert {name: format_prefix(config.interface.addresses[0]) for name, config in found.items()} == {
        "berlin": "10.99.0.1/16", "paris": "10.99.0.77/16", "lyon": "10.99.0.2/16", "oslo": "10.99.0.3/16",
    }  # fmt: skip
    for one, other in itertools.permutations(found, 2):
        peers = {peer.name: peer for peer in found[one].peers}
        back = {peer.name: peer for peer in found[other].peers}
        assert (other in peers) == ({one, other} != {"lyon", "oslo"})
        if other in peers:
            assert peers[other].preshared_key == back[one].preshared_key != None  # noqa: E711
            assert peers[other].allowed_ips[0][0] == found[other].interface.addresses[0][0]
            assert (peers[other].persistent_keepalive == 25) == (one in {"lyon", "oslo"})
    keys = [peer.preshared_key for config in found.values() for peer in config.peers]
    assert len(set(keys)) * 2 == len(keys) == 10
    assert all(path.stat().st_mode & 0o77 == 0 for path in tmp_path.rglob("*"))


def test_a_further_run_keeps_and_adds(tmp_path: Path) -> None:
    build(CSV, tmp_path)
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in tmp_path.glob("*/*")}
    assert build(CSV, tmp_path) == (0, 0, 4, [], 1)
    assert {path: (path.read_bytes(), path.stat().st_ino) for path in tmp_path.glob("*/*")} == before
    old = configs(tmp_path)
    more = CSV.replace("paris,", "rome, 203.0.113.9\nparis,").replace("lyon,,192.168.3.0/24\n", "")
    assert build(more, tmp_path) == (1, 3, 0, ["lyon"], 0)
    new = configs(tmp_path)
    for name, config in old.items():
        assert new[name].interface == config.interface
        kept = {peer.public_key: peer for peer in new[name].peers}
        assert all(kept[peer.public_key] == peer for peer in config.peers if peer.public_key in kept)
    assert format_prefix(new["rome"].interface.addresses[0]) == "10.99.0.4/16"
    assert [peer.name for peer in new["berlin"].peers] == ["rome", "paris", "oslo"]


def test_what_was_edited_is_kept(tmp_path: Path) -> None:
    build(CSV, tmp_path)
    edited = tmp_path / "paris" / "wg0.conf"
    text = edited.read_text() + "# mine\n"
    edited.write_text(text)
    more = CSV + "rome, 203.0.113.9\n"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="was edited"):
        build(more, tmp_path)
    assert edited.read_text() == text
    assert sorted(tmp_path.rglob("*")) == before
    assert build(more, tmp_path, force=True).new == 1
    assert "# mine" not in edited.read_text()


def test_files_of_no_run_are_kept(tmp_path: Path) -> None:
    (tmp_path / "berlin").mkdir()
    (tmp_path / "berlin" / "wg0.conf").write_text("[Interface]\n")
    with pytest.raises(ConfigError, match="there already"):
        build(CSV, tmp_path)
    assert not (tmp_path / mesh.MEMORY).exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"secret": 1, "sites": {}}', '{"sites": {"a": 1}}', "x"])
def test_a_damaged_memory_is_no_reason_for_new_keys(tmp_path: Path, text: str) -> None:
    (tmp_path / mesh.MEMORY).write_text(text)
    with pytest.raises(ConfigError, match="damaged"):
        build(CSV, tmp_path)
    assert (tmp_path / mesh.MEMORY).read_text() == text


def test_an_address_that_the_table_gives_away_is_no_longer_that_of_another(tmp_path: Path) -> None:
    build(CSV, tmp_path)
    build(CSV.replace("oslo", "oslo,,,10.99.0.1"), tmp_path)
    addresses = [config.interface.addresses[0] for config in configs(tmp_path).values()]
    assert len(set(addresses)) == 4


@pytest.mark.parametrize("address", ["10.98.0.1", "fd00::1"])
def test_an_address_outside_the_tunnel(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match="not in the tunnel's"):
        build(CSV.replace("10.99.0.77", address), tmp_path)


def test_a_thousand_sites(tmp_path: Path) -> None:
    """Each with each: 999,000 peers in all."""
    rows = [f"site{n},site{n}.example.org,10.{n >> 8}.{n & 255}.0/24" for n in range(1000)]
    entries = table.parse("\n".join(["name,endpoint,networks", *rows]), "m.csv")
    made = mesh.make(entries, TUNNEL, folder=str(tmp_path), interface="wg0", psk=False, force=False)
    assert made == (1000, 0, 0, [], 0)
    config = parse((tmp_path / "site999" / "wg0.conf").read_text(), "site999")
    assert len(config.peers) == 999
    assert len({peer.public_key for peer in config.peers}) == 999


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="--force"):
        folder.write_all(str(tmp_path), {"a/1": "x", "b/2": "y"}, force=False)
    assert not (tmp_path / "a").exists()
    folder.write_all(str(tmp_path), {"a/1": "x", "b/2": "y"}, force=True)
    assert (tmp_path / "b" / "2").read_text() == "y"
    assert not (tmp_path / "b" / "2").is_symlink()


def test_all_or_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("a file where a folder has to be")
    with pytest.raises(OSError):  # noqa: PT011
        folder.write_all(str(tmp_path), {"a/1": "x", "a/b/2": "x", "c/3": "y"}, force=False)
    assert [path.name for path in tmp_path.rglob("*")] == ["c"]


def test_a_folder_where_a_file_has_to_be_is_told_before_anything_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("as it was")
    (tmp_path / "b").mkdir()
    with pytest.raises(ConfigError, match="b is a folder, and no file: nothing was written"):
        folder.write_all(str(tmp_path), {"a": "x", "b": "y"}, force=True)
    assert (tmp_path / "a").read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("at", [0, 1])
def test_a_signal_leaves_no_key_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    names = ["a", "b"]
    write_text = folder._write_new

    def interrupted(path: str, text: str) -> None:
        if path.endswith(f"{names[at]}.new"):
            raise KeyboardInterrupt
        write_text(path, text)

    monkeypatch.setattr(folder, "_write_new", interrupted)
    with pytest.raises(KeyboardInterrupt):
        folder.write_all(str(tmp_path), dict.fromkeys(names, "a key"), force=False)
    assert list(tmp_path.iterdir()) == []
