"""The texts that people and programs write: whatever stands in one, it is read, or refused with the right error."""

import errno

from pywg.config import uapi, wg_quick
from pywg.errors import UapiError, WgQuickError
from tests import at_once
from tests.fuzz.engine import Attempt
from tests.fuzz.mutate import mix_lines, mutate

HEX = "42" * 32
BASE64 = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="
FILE = "wg0.conf"
UAPI_LINES = (
    *(
        f"public_key={HEX}",
        f"public_key={HEX[::-1]}",
        f"public_key={HEX}",
        f"private_key={HEX}",
        f"preshared_key={HEX}",
    ),
    *("listen_port=51820", "fwmark=0", "replace_peers=true", "remove=true", "update_only=true"),
    *("endpoint=192.0.2.1:51820", "endpoint=[2001:db8::1]:1", "endpoint=[fe80::1%1]:65535"),
    *("persistent_keepalive_interval=25", "replace_allowed_ips=true", "protocol_version=1"),
    *("allowed_ip=0.0.0.0/0", "allowed_ip=::/0", "allowed_ip=-10.0.0.0/8", "allowed_ip=192.0.2.7", "", "errno=0"),
)
QUICK_LINES = (
    *("[Interface]", "[Peer]", "[Peer]", f"PublicKey = {BASE64}", f"PublicKey = {BASE64}", f"PrivateKey = {BASE64}"),
    *(f"PresharedKey = {BASE64}", "ListenPort = 51820", "FwMark = 0xca6c", "FwMark = off", "MTU = 1420"),
    *("Address = 10.0.0.1/24, fd00::1/64", "DNS = 10.0.0.53, example.org", "Table = off", "Table = 1234"),
    *("PreUp = ip rule", "PostUp = echo %i", "PreDown = true", "PostDown = true # not this", "SaveConfig = true"),
    *("AllowedIPs = 0.0.0.0/0, ::/0", "AllowedIPs = 10.1.2.3", "Endpoint = [2001:db8::1]:51820"),
    *("Endpoint = vpn.example.org:51820", "PersistentKeepalive = 25", "PersistentKeepalive = off", "# a comment", ""),
)
TOKENS = (
    *("", " ", "0", "-1", "65535", "65536", "4294967295", "4294967296", "99999999999999999999", "0x", "0xffffffff"),
    *("true", "false", "off", "on", "1.2.3.4", "1.2.3.4/33", "::1/129", "::", "[", "]:", ":1", "=", "#", "/", "%", ","),
    *("\t", "\0", "\x7f", "\u00e9", "\u0663", "+1", "1_0", "01", "1e3", HEX, HEX[:-1], BASE64, BASE64[:-1], "a" * 300),
)


def uapi_set(attempt: Attempt) -> None:
    """Read, or UapiError with an errno of the protocol's; what was read is written so that it is read the same."""
    chance = attempt.random
    text = mix_lines(chance, UAPI_LINES, TOKENS).encode("utf-8", "replace")
    request = mutate(chance, text) if chance.random() < 0.3 else text
    attempt.inputs["request"] = request
    try:
        change = at_once.parse_set(request)
    except UapiError as error:
        check_uapi_error(error, errno.EINVAL, errno.EPROTO)
    else:
        assert at_once.parse_set(uapi.format_set(change)) == change


def uapi_get(attempt: Attempt) -> None:
    """A reply of any daemon's."""
    chance = attempt.random
    lines = (
        *UAPI_LINES,
        "last_handshake_time_sec=1",
        "last_handshake_time_nsec=1",
        "tx_bytes=1",
        "rx_bytes=18446744073709551615",
    )
    reply = mix_lines(chance, lines, TOKENS).encode("utf-8", "replace")
    attempt.inputs["reply"] = reply
    try:
        status = uapi.parse_get(reply)
    except UapiError as error:
        check_uapi_error(error)
    else:
        assert uapi.parse_get(at_once.format_get(status)) == status


def check_uapi_error(error: UapiError, *numbers: int) -> None:
    assert HEX not in str(error)
    assert not numbers or error.errno in numbers


def quick(attempt: Attempt) -> None:
    """Read, or WgQuickError with a line that the file has."""
    chance = attempt.random
    text = mix_lines(chance, QUICK_LINES, TOKENS)
    if chance.random() < 0.5:
        text = f"[Interface]\n{text}"
    attempt.inputs["text"] = text
    try:
        config = wg_quick.parse(text, FILE)
    except WgQuickError as error:
        check_quick_error(error, len(text.split("\n")))
    else:
        assert wg_quick.parse(wg_quick.format(config), FILE) == config


def check_quick_error(error: WgQuickError, lines: int) -> None:
    assert error.file == FILE
    assert 1 <= error.line <= lines
    assert BASE64 not in str(error)


def case(attempt: Attempt) -> None:
    attempt.random.choice([uapi_set, uapi_get, quick])(attempt)
