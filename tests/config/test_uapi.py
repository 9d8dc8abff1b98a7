"""UAPI text: the cross-platform protocol's page, wireguard-go's errnos, and no secret in any error."""

import contextlib
import errno
import gc
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pywg.config import uapi
from pywg.config.model import ZERO_KEY, AllowedIpChange, DeviceChange, DeviceStatus, PeerChange, PeerStatus, PeerTrouble
from pywg.errors import ConfigError, UapiError
from tests import at_once
from tests.config.strategies import device_changes, device_statuses

KEY = bytes(range(32))
HEX = KEY.hex()
BASE64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PEER = f"public_key={HEX}\n"


def set_error(request: str | bytes) -> UapiError:
    with pytest.raises(UapiError) as caught:
        at_once.parse_set(request.encode() if isinstance(request, str) else request)
    return caught.value


def errno_of(parse: Callable[[bytes], object], text: bytes) -> int:
    try:
        parse(text)
    except UapiError as error:
        return error.errno
    return 0


@given(device_changes)
def test_set_round_trip(change: DeviceChange) -> None:
    assert at_once.parse_set(uapi.format_set(change)) == change


@given(device_statuses)
def test_get_round_trip(status: DeviceStatus) -> None:
    assert uapi.parse_get(at_once.format_get(status)) == status


def test_set_of_the_protocols_page() -> None:
    request = (
        "private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a\n"
        "fwmark=0\n"
        "listen_port=12912\n"
        "public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33\n"
        "preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52\n"
        "replace_allowed_ips=true\n"
        "allowed_ip=192.168.4.4/32\n"
        "endpoint=[abcd:23::33%2]:51820\n"
        "public_key=58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376\n"
        "replace_allowed_ips=true\n"
        "allowed_ip=192.168.4.6/32\n"
        "persistent_keepalive_interval=111\n"
        "endpoint=182.122.22.19:3233\n"
        "public_key=662e14fd594556f522604703340351258903b64f35553763f19426ab2a515c58\n"
        "endpoint=5.152.198.39:51820\n"
        "replace_allowed_ips=true\n"
        "allowed_ip=192.168.4.10/32\n"
        "allowed_ip=192.168.4.11/32\n"
        "public_key=e818b58db5274087fcc1be5dc728cf53d3b5726b4cef6b9bab8f8f8c2452c25c\n"
        "remove=true\n"
        "\n"
    )
    change = at_once.parse_set(request.encode())
    assert change.private_key == bytes.fromhex("e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a")
    assert (change.fwmark, change.listen_port, change.replace_peers) == (0, 12912, False)
    first, second, third, fourth = change.peers
    scoped = (bytes.fromhex("abcd0023") + bytes(10) + b"\x00\x33", 51820, 2)
    psk = bytes.fromhex("188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52")
    assert first == PeerChange(
        bytes.fromhex("b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33"),
        preshared_key=psk,
        endpoint=scoped,
        replace_allowed_ips=True,
        allowed_ips=[AllowedIpChange(bytes([192, 168, 4, 4]), 32)],
    )
    assert (second.endpoint, second.persistent_keepalive) == ((bytes([182, 122, 22, 19]), 3233, 0), 111)
    assert [entry.ip[3] for entry in third.allowed_ips] == [10, 11]
    assert fourth.remove


def test_get_as_wg_reads_it() -> None:
    status = DeviceStatus(
        private_key=b"\x80" + bytes(30) + b"\x01",
        listen_port=51820,
        fwmark=0xCA6C,
        peers=[
            PeerStatus(
                KEY,
                endpoint=(b"\xfe\x80" + bytes(13) + b"\x01", 7, 1),
                last_handshake_ns=1_700_000_000_000_000_042,
                tx_bytes=1,
                rx_bytes=2**64 - 1,
                persistent_keepalive=25,
                allowed_ips=[(bytes(4), 0), (bytes(16), 0)],
            )
        ],
    )
    assert at_once.format_get(status).decode() == (
        f"private_key=80{'00' * 30}01\n"
        "listen_port=51820\n"
        "fwmark=51820\n"
        f"public_key={HEX}\n"
        f"preshared_key={'00' * 32}\n"
        "protocol_version=1\n"
        "endpoint=[fe80::1%lo]:7\n"
        "last_handshake_time_sec=1700000000\n"
        "last_handshake_time_nsec=42\n"
        "tx_bytes=1\n"
        "rx_bytes=18446744073709551615\n"
        "persistent_keepalive_interval=25\n"
        "allowed_ip=0.0.0.0/0\n"
        "allowed_ip=::/0\n"
    )


def test_nothing_of_a_refused_request_waits_for_the_garbage_collector() -> None:
    """An error that is held by its own traceback would hold the request's keys as well."""
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(UapiError):  # pytest.raises would make a cycle of its own
            at_once.parse_set(f"private_key={HEX}\nx=y\n".encode())
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("private_key", [None, ZERO_KEY])
def test_get_leaves_out_what_is_not_set(private_key: bytes | None) -> None:
    assert at_once.format_get(DeviceStatus(private_key=private_key)) == b""


def test_get_shows_every_peer_its_zero_values() -> None:
    text = at_once.format_get(DeviceStatus(peers=[PeerStatus(KEY)])).decode()
    assert [line.partition("=")[0] for line in text.split()] == [
        "public_key",
        "preshared_key",
        "protocol_version",
        "last_handshake_time_sec",
        "last_handshake_time_nsec",
        "tx_bytes",
        "rx_bytes",
        "persistent_keepalive_interval",
    ]


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_set_takes_any_buffer(wrap: Callable[[bytes], bytes | bytearray | memoryview]) -> None:
    assert at_once.parse_set(wrap(b"listen_port=7\n")) == DeviceChange(listen_port=7)


@pytest.mark.parametrize("request_text", ["", "\n", "\nlisten_port=7\n"])
def test_set_ends_at_the_blank_line(request_text: str) -> None:
    assert at_once.parse_set(request_text.encode()) == DeviceChange()


def test_set_without_a_last_newline() -> None:
    assert at_once.parse_set(b"fwmark=1\nlisten_port=7") == DeviceChange(fwmark=1, listen_port=7)


def test_set_of_the_same_peer_twice_keeps_both_in_order() -> None:
    change = at_once.parse_set(f"{PEER}remove=true\n{PEER}allowed_ip=10.0.0.0/8\n".encode())
    assert change.peers == [
        PeerChange(KEY, remove=True),
        PeerChange(KEY, allowed_ips=[AllowedIpChange(bytes([10, 0, 0, 0]), 8)]),
    ]


def test_the_last_of_a_single_value_counts() -> None:
    assert at_once.parse_set(b"listen_port=1\nlisten_port=2\n").listen_port == 2


def test_replace_allowed_ips_also_drops_what_the_request_gave_before() -> None:
    change = at_once.parse_set(
        f"{PEER}allowed_ip=10.0.0.0/8\nreplace_allowed_ips=true\nallowed_ip=10.1.0.0/16\n".encode()
    )
    assert change.peers[0].replace_allowed_ips
    assert change.peers[0].allowed_ips == [AllowedIpChange(bytes([10, 1, 0, 0]), 16)]


def test_an_endpoint_is_cleared_before_it_is_set() -> None:
    change = at_once.parse_set(f"{PEER}endpoint=10.0.0.1:1\nclear_endpoint=true\n".encode())
    assert change.peers == [PeerChange(KEY, clear_endpoint=True)]
    change = at_once.parse_set(f"{PEER}clear_endpoint=true\nendpoint=10.0.0.1:1\n".encode())
    assert change.peers == [PeerChange(KEY, clear_endpoint=True, endpoint=(bytes([10, 0, 0, 1]), 1, 0))]
    change = at_once.parse_set(f"{PEER}probe_endpoint=10.0.0.1:1\n".encode())
    assert change.peers == [PeerChange(KEY, probe_endpoint=(bytes([10, 0, 0, 1]), 1, 0))]
    for line in ("clear_endpoint=false", "clear_endpoint=", "probe_endpoint=10.0.0.1", "probe_endpoint="):
        assert set_error(f"{PEER}{line}\n").errno == errno.EINVAL


def test_a_leading_minus_removes_an_allowed_ip() -> None:
    change = at_once.parse_set(f"{PEER}allowed_ip=10.0.0.0/8\nallowed_ip=-10.0.0.0/8\n".encode())
    assert [entry.remove for entry in change.peers[0].allowed_ips] == [False, True]


def test_allowed_ips_lose_their_host_bits() -> None:
    change = at_once.parse_set(f"{PEER}allowed_ip=10.1.2.3/12\nallowed_ip=2001:db8::ff/127\n".encode())
    v6 = bytes.fromhex("20010db8") + bytes(11) + b"\xfe"
    assert change.peers[0].allowed_ips == [AllowedIpChange(bytes([10, 0, 0, 0]), 12), AllowedIpChange(v6, 127)]


def test_keys_may_be_in_capitals_and_zero() -> None:
    request = f"private_key={'0' * 64}\npublic_key={HEX.upper()}\npreshared_key={'0' * 64}\n"
    assert at_once.parse_set(request.encode()) == DeviceChange(
        private_key=ZERO_KEY, peers=[PeerChange(KEY, preshared_key=ZERO_KEY)]
    )


@pytest.mark.dropin("9", "Bad input")
@pytest.mark.parametrize(
    "line",
    [
        "private_key=",
        f"private_key={HEX[:-1]}",
        f"private_key={HEX}0",
        f"private_key={HEX[:-1]}g",
        f"private_key={HEX[:-1]} ",
        f"private_key={BASE64}",
        f"public_key={HEX[:-2]}",
        "listen_port=",
        "listen_port=-1",
        "listen_port=+1",
        "listen_port=65536",
        "listen_port=0x1",
        "listen_port= 1",
        "listen_port=1_0",
        "listen_port=\N{ARABIC-INDIC DIGIT ONE}",
        "listen_port=" + "9" * 5000,
        "fwmark=4294967296",
        "fwmark=0x10",
        "fwmark=off",
        "replace_peers=false",
        "replace_peers=",
        "replace_peers=1",
        "update_only=true",
        "remove=true",
        "allowed_ip=10.0.0.0/8",
        "protocol_version=1",
        "LISTEN_PORT=1",
        "listen_port =1",
        "=1",
        "=",
        "nonsense=1",
        "errno=0",
    ],
)
def test_bad_device_line_is_einval(line: str) -> None:
    error = set_error(f"fwmark=1\n{line}\nlisten_port=1\n")
    assert error.errno == errno.EINVAL
    assert str(error).startswith("line 2: ")


@pytest.mark.dropin("9", "Bad input")
@pytest.mark.parametrize(
    "line",
    [
        "listen_port=1",
        f"private_key={HEX}",
        "fwmark=1",
        "replace_peers=true",
        "update_only=false",
        "remove=false",
        "remove=",
        "replace_allowed_ips=false",
        "protocol_version=2",
        "protocol_version=",
        f"preshared_key={HEX}00",
        "preshared_key=",
        "endpoint=",
        "endpoint=1.2.3.4",
        "endpoint=1.2.3.4:",
        "endpoint=1.2.3.4:65536",
        "endpoint=1.2.3:1",
        "endpoint=1.2.3.04:1",
        "endpoint=[1.2.3.4]:1",
        "endpoint=::1:1",
        "endpoint=[::1]",
        "endpoint=[::1]1",
        "endpoint=[::1:1",
        "endpoint=[::1%]:1",
        "endpoint=[fe80::1%no-such-link]:1",
        "endpoint=[fe80::1%4294967296]:1",
        "endpoint=[fe80::1%a\0b]:1",
        "endpoint=1.2.3.4%1:1",
        "endpoint=example.com:1",
        "endpoint=\N{FULLWIDTH DIGIT ONE}.2.3.4:1",
        "persistent_keepalive_interval=65536",
        "persistent_keepalive_interval=off",
        "persistent_keepalive_interval=",
        "allowed_ip=",
        "allowed_ip=-",
        "allowed_ip=--10.0.0.0/8",
        "allowed_ip=+10.0.0.0/8",
        "allowed_ip=10.0.0.0",
        "allowed_ip=10.0.0.0/",
        "allowed_ip=10.0.0.0/33",
        "allowed_ip=10.0.0.0/-1",
        "allowed_ip=10.0.0.0/08",
        "allowed_ip=10.0.0.0/8/8",
        "allowed_ip=10.0.0/8",
        "allowed_ip=010.0.0.0/8",
        "allowed_ip=::/129",
        "allowed_ip=fe80::1%lo/64",
        "allowed_ip=10.0.0.0\0/8",
        "nonsense=1",
    ],
)
def test_bad_peer_line_is_einval(line: str) -> None:
    error = set_error(f"listen_port=1\n{PEER}persistent_keepalive_interval=1\n{line}\nremove=true\n")
    assert error.errno == errno.EINVAL
    assert str(error).startswith("line 4: ")


@pytest.mark.dropin("9")
def test_good_peer_lines_around_the_bad_ones_above_are_good() -> None:
    at_once.parse_set(
        f"listen_port=1\n{PEER}persistent_keepalive_interval=1\nprotocol_version=1\nremove=true\n".encode()
    )


@pytest.mark.dropin("7", "Bad input")
@pytest.mark.parametrize("line", ["nonsense", "listen_port", HEX, "\x00", "\xff", " "])
def test_line_without_an_equals_sign_is_eproto(line: str) -> None:
    error = set_error(f"fwmark=1\nfwmark=2\n{line}\n")
    assert error.errno == errno.EPROTO
    assert str(error).startswith("line 3: ")


def test_error_names_the_setting() -> None:
    assert "listen_port" in str(set_error("listen_port=x\n"))
    assert "endpoint" in str(set_error(f"{PEER}endpoint=x\n"))


def test_after_an_error_the_request_can_be_resized() -> None:
    request = bytearray(f"private_key={HEX}\nlisten_port=x\n".encode())
    with pytest.raises(UapiError) as caught:
        at_once.parse_set(request)
    request.clear()
    assert caught.value.__context__ is None


def test_after_a_set_the_request_can_be_resized() -> None:
    request = bytearray(f"private_key={HEX}\n".encode())
    change = at_once.parse_set(request)
    request.clear()
    assert change.private_key == KEY


SECRET_PLACES = [
    "{}",
    "{}=",
    "={}",
    "{}=true",
    "listen_port={}",
    "fwmark={}",
    "replace_peers={}",
    "private_key={} ",
    "private_key=x{}",
    "privatekey={}",
    "endpoint={}",
    PEER + "endpoint={}",
    PEER + "endpoint=[fe80::1%{}]:1",
    PEER + "endpoint=1.2.3.4:{}",
    PEER + "allowed_ip={}",
    PEER + "allowed_ip=10.0.0.0/{}",
    PEER + "persistent_keepalive_interval={}",
    PEER + "preshared_key={}=",
    PEER + "remove={}",
    PEER + "update_only={}",
    PEER + "replace_allowed_ips={}",
    PEER + "clear_endpoint={}",
    PEER + "probe_endpoint={}",
    PEER + "protocol_version={}",
    PEER + "private_key={}",
    PEER + "{}=1",
    PEER + "{}",
]


@pytest.mark.dropin("Bad input")
@pytest.mark.parametrize("secret", [HEX.replace("00", "ab", 1), BASE64])
@pytest.mark.parametrize("place", SECRET_PLACES)
def test_no_error_repeats_a_secret(place: str, secret: str) -> None:
    error = set_error(place.format(secret))
    assert not any(secret[start : start + 8] in repr(error) for start in range(len(secret) - 7))


def test_no_repr_shows_a_secret() -> None:
    secret = bytes([0xC5]) * 32
    shown = repr(
        [
            DeviceChange(private_key=secret, peers=[PeerChange(KEY, preshared_key=secret)]),
            DeviceStatus(private_key=secret, peers=[PeerStatus(KEY, secret)]),
        ]
    )
    assert "xc5" not in shown


@given(st.binary(max_size=200))
@example(b"public_key")
@example(b"public_key=" + b"\xff" * 64)
@example(b"\xff=\xff")
def test_set_of_anything_raises_nothing_else(request_bytes: bytes) -> None:
    assert errno_of(at_once.parse_set, request_bytes) in {0, errno.EINVAL, errno.EPROTO}


NAMES = [
    "private_key", "listen_port", "fwmark", "replace_peers", "public_key", "remove", "update_only", "preshared_key",
    "endpoint", "persistent_keepalive_interval", "replace_allowed_ips", "allowed_ip", "protocol_version", "errno",
    "last_handshake_time_sec", "last_handshake_time_nsec", "tx_bytes", "rx_bytes",
]  # fmt: skip
noisy_lines = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from([HEX, "true", "1", "10.0.0.0/8", "[::1]:1"])
        | st.text(max_size=30).filter(lambda t: "\n" not in t),
    ).map("=".join),
    max_size=8,
).map(lambda lines: "\n".join(lines).encode())


@given(noisy_lines)
def test_set_of_wrong_values_raises_nothing_else(request_bytes: bytes) -> None:
    assert errno_of(at_once.parse_set, request_bytes) in {0, errno.EINVAL}


@given(st.binary(max_size=200) | noisy_lines)
def test_get_of_anything_raises_nothing_else(reply: bytes) -> None:
    assert errno_of(uapi.parse_get, reply) >= 0


@pytest.mark.parametrize("zone", ["no-such-link", "veth.7", "4294967296"])
def test_get_of_a_daemon_in_another_namespace_is_without_its_zones(zone: str) -> None:
    reply = f"{PEER}endpoint=[fe80::1%{zone}]:7\n{PEER}endpoint=[fe80::1%lo]:7\n".encode()
    unknown, known = uapi.parse_get(reply).peers
    assert unknown.endpoint == (bytes.fromhex("fe80" + "00" * 13 + "01"), 7, 0)
    assert known.endpoint == (*unknown.endpoint[:2], 1)
    for wrong in ("[fe80::1%]", "[fe80::1%x]:70000", "1.2.3.4%x:1", "%x]:1"):
        assert errno_of(uapi.parse_get, f"{PEER}endpoint={wrong}\n".encode()) == errno.EPROTO


def test_troubles_round_trip() -> None:
    told = [PeerTrouble(KEY, 7, 35, "no route = none"), PeerTrouble(bytes(32), 0, 0, "")]
    reply = at_once.format_troubles(told)
    assert uapi.parse_troubles(reply) == told
    assert uapi.parse_troubles(reply + b"of_tomorrow=1\nerrno=0\n\n") == told
    assert uapi.parse_troubles(b"") == []
    assert errno_of(uapi.parse_troubles, b"errno=-12\n\n") == errno.ENOMEM
    for wrong in (b"public_key=00\n", b"x\n", PEER.encode() + b"initiations_unanswered=x\n"):
        assert errno_of(uapi.parse_troubles, wrong) == errno.EPROTO


def test_get_that_failed_has_the_devices_errno() -> None:
    with pytest.raises(UapiError) as caught:
        uapi.parse_get(b"errno=-5\n\n")
    assert caught.value.errno == errno.EIO


def test_get_with_its_errno_line() -> None:
    assert uapi.parse_get(b"listen_port=9\nerrno=0\n\n") == DeviceStatus(listen_port=9)


def test_get_skips_what_a_later_version_may_say() -> None:
    reply = f"colour=blue\n{PEER}shape=round\ntx_bytes=9\n".encode()
    assert uapi.parse_get(reply) == DeviceStatus(peers=[PeerStatus(KEY, tx_bytes=9)])


@pytest.mark.dropin("7")
@pytest.mark.known_bug("UAPI errors with positive errno")
@pytest.mark.parametrize(
    ("number", "text"), [(0, b"errno=0\n\n"), (errno.EINVAL, b"errno=-22\n\n"), (errno.EADDRINUSE, b"errno=-98\n\n")]
)
def test_errno_is_negative_on_the_wire(number: int, text: bytes) -> None:
    assert uapi.format_errno(number) == text


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_not_written(length: int) -> None:
    with pytest.raises(ConfigError):
        at_once.format_get(DeviceStatus(private_key=b"\1" * length, peers=[PeerStatus(KEY, b"\1" * length)]))


def test_status_takes_any_buffer_as_a_secret() -> None:
    status = DeviceStatus(private_key=memoryview(bytearray(KEY)))
    assert at_once.format_get(status) == f"private_key={HEX}\n".encode()


@pytest.mark.dropin("11")
def test_131072_allowed_ips() -> None:
    count = 131_072
    request = bytearray(PEER.encode())
    for number in range(count):
        request += b"allowed_ip=10.%d.%d.%d/32\n" % (number >> 16, number >> 8 & 255, number & 255)
    (peer,) = at_once.parse_set(request).peers
    assert len(peer.allowed_ips) == count
    assert peer.allowed_ips[-1] == AllowedIpChange(bytes([10, 1, 255, 255]), 32)
    status = DeviceStatus(peers=[PeerStatus(KEY, allowed_ips=[entry[:2] for entry in peer.allowed_ips])])
    assert uapi.parse_get(at_once.format_get(status)) == status
