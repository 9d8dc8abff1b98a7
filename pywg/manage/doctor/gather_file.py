"""Facts of a configuration file, of the names in it, and of its DNS servers."""

import contextlib
import os
import socket
import struct
import threading
from typing import Final

from pywg.config import wg_quick
from pywg.config.addresses import V4_LEN, parse_ip
from pywg.config.keys import format_key_base64
from pywg.config.model import SockAddr
from pywg.config.quick_extensions import read_extensions
from pywg.config.wg_quick import HostPort
from pywg.errors import ConfigError
from pywg.manage.check import check
from pywg.manage.doctor.facts import FileFacts, PeerFacts
from pywg.manage.names import contents
from pywg.manage.public_key import public_key_of

_RESOLVE_S: Final = 5.0
_DNS_S: Final = 1.5
_JUDGED_HERE: Final = {
    *("no-private-key", "own-key", "same-key", "same-allowed-ip", "no-allowed-ips", "own-address"),
    *("mtu", "loop", "port-taken", "dns-tool"),
}
"""Findings of `pywg check` that doctor's own checks know more of, from the daemon or the routes."""
_QUESTION: Final = struct.pack("!HHHHHH", 0x7077, 0x0100, 1, 0, 0, 0) + b"\0" + struct.pack("!HH", 2, 1)
"""For the name servers of the root, which every resolver knows or refuses to tell."""


def gather(path: str) -> FileFacts:
    """What the file says. Raises OSError when it can't be read."""
    content = wg_quick.as_text(contents(path))
    reading = wg_quick.read(content, path)
    facts = FileFacts(path, errors=[" ".join(str(error).split("\n")[0].split()) for error in reading.errors])
    if facts.errors:
        return facts
    for finding in check(os.path.abspath(path)).findings:
        if finding.code not in _JUDGED_HERE:
            text = f"{path}:{finding.line}: {finding.message}"
            (facts.faults if finding.severity == "error" else facts.warnings).append(text)
    interface = reading.config.interface
    facts.addresses, facts.mtu, facts.fwmark = interface.addresses, interface.mtu, interface.fwmark
    facts.listen_port, facts.table = interface.listen_port or 0, (interface.table or "auto").lower()
    with contextlib.suppress(ConfigError):  # which `check` has told
        facts.wants_companion = read_extensions(content, path).wanted
    facts.private_key_set = interface.private_key is not None
    if interface.private_key is not None:
        facts.own_key = public_key_of(interface.private_key)
    for peer in reading.config.peers:
        name = peer.name or short(peer.public_key)
        facts.peers.append(PeerFacts(name, peer.public_key, peer.allowed_ips, keepalive=peer.persistent_keepalive or 0))
    _resolve([peer.endpoint for peer in reading.config.peers], facts.peers)
    facts.dns = _ask_servers(interface.dns)
    return facts


def short(public_key: bytes) -> str:
    """A peer without a name, as the log shortens its key."""
    text = format_key_base64(public_key)
    return f"{text[:4]}…{text[39:43]}"


def _resolve(endpoints: list[HostPort | None], peers: list[PeerFacts]) -> None:
    """All at once, and no longer than _RESOLVE_S: a resolver may take minutes to say that there is none."""
    answers: dict[int, SockAddr | str] = {}

    def ask(number: int, host: str, port: int) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
            address = found[0][4]
            ip = parse_ip(str(address[0]).partition("%")[0])
            mapped = ip.startswith(bytes(10) + b"\xff\xff") and len(ip) != V4_LEN
            answers[number] = (ip[-V4_LEN:] if mapped else ip, port, int(address[3]) if len(address) > 3 else 0)
        except (OSError, UnicodeError, ConfigError) as error:
            answers[number] = getattr(error, "strerror", None) or str(error)

    threads = []
    for number, endpoint in enumerate(endpoints):
        if endpoint is None:
            continue
        thread = threading.Thread(target=ask, args=(number, *endpoint), daemon=True)
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join(_RESOLVE_S / max(len(threads), 1) if thread.is_alive() else 0)
    for number, endpoint in enumerate(endpoints):
        if endpoint is None:
            continue
        answer = answers.get(number, f"no answer within {_RESOLVE_S:.0f} s")
        with contextlib.suppress(ConfigError):
            parse_ip(endpoint[0].partition("%")[0])
            if not isinstance(answer, str):
                peers[number].endpoint = answer
            continue
        peers[number].host = endpoint[0]
        if isinstance(answer, str):
            peers[number].resolve_fault = answer
        else:
            peers[number].endpoint = answer


def _ask_servers(words: list[str]) -> dict[str, str]:
    """Each server is asked one question; search domains are none."""
    found: dict[str, str] = {}
    for word in words:
        try:
            family = socket.AF_INET if len(parse_ip(word)) == V4_LEN else socket.AF_INET6
        except ConfigError:
            continue
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_DNS_S)
            try:
                sock.connect((word, 53))
                sock.send(_QUESTION)
                found[word] = "" if sock.recv(512)[:2] == _QUESTION[:2] else "not a DNS server"
            except TimeoutError:
                found[word] = f"no answer within {_DNS_S:g} s"
            except OSError as error:
                found[word] = error.strerror or str(error)
    return found
