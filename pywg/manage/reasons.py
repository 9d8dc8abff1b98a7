"""What a daemon's counters mean to an operator: of each that counts a loss or a refusal, why, and what to do about it.

The data plane's counters are pywg/dataplane/state/counters.pxd's, the control plane's (`handshake_...`) are the reasons
of pywg/core/events.py. tests/manage/test_reasons.py holds this table to both lists.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from pywg.config.uapi_events import TRAFFIC

__all__ = ["PREFIX", "REASONS", "TRAFFIC", "WENT_WELL", "Drop", "Reason", "drops"]

PREFIX: Final = "counter_"
"""Before a counter's name in `pywg stats`."""


class Reason(NamedTuple):
    """A counter that grows when something is lost or refused."""

    meaning: str
    """what was lost, and why"""
    hint: str
    """what to do, or that nothing has to be done"""


class Drop(NamedTuple):
    """A reason that has occurred."""

    name: str
    times: int
    reason: Reason


_NOISE = "strangers on the internet try this; nothing to do unless a peer has no handshake"
_CLOCK = "set that peer's clock by NTP; restart it if its clock went back"

REASONS: Final[Mapping[str, Reason]] = {
    # Sending
    "tx_no_peer": Reason(
        "packets to an address that no peer has", "add it to a peer's AllowedIPs; a few of the host's own are usual"
    ),
    "tx_no_endpoint": Reason(
        "packets to a peer whose endpoint is not known", "give it an Endpoint, or let that peer begin (keepalive)"
    ),
    "tx_unreachable_error": Reason(
        "ICMP errors to inner senders that could not be sent", "those senders wait for a timeout; the log has the cause"
    ),
    "tx_malformed": Reason(
        "frames from the TUN that are not IP packets", "find the program that writes to the interface; --no-tun-offload"
    ),
    "tx_unknown_gso": Reason(
        "superframes of a kind that pywg does not know", "start with --no-tun-offload, and report the kernel's version"
    ),
    "tx_no_room": Reason("packets that found no room in a batch", "report it: batches have room for every packet"),
    "tx_routing_loop": Reason(
        "the tunnel's own datagrams, which came back to be sent again",
        "the endpoint's route leads into the tunnel: set a FwMark with a rule, or a route to the endpoint",
    ),
    "tx_staged_dropped": Reason(
        "packets that waited for a session that did not come", "see the peer's handshake; a few at a start are usual"
    ),
    "tx_seal_failed": Reason("packets that the cipher did not seal", "report it; PYWG_AEAD=evp takes another cipher"),
    "tx_send_error": Reason(
        "sends that the kernel refused", "the log has the cause: no route, a packet filter, or a full queue"
    ),
    "tx_message_too_long": Reason(
        "datagrams larger than the path's MTU", "lower the MTU of the interface: 80 below the path's"
    ),
    "tx_tun_error": Reason(
        "failed reads of the interface", "the log has the error; restart pywg to make the interface anew"
    ),
    "tx_wait_error": Reason("failed waits of the sending thread", "the machine lacks memory or descriptors"),
    # Receiving
    "rx_receive_error": Reason("failed receives", "the log has the error; the machine may lack memory"),
    "rx_truncated": Reason("datagrams longer than any WireGuard message", _NOISE),
    "rx_malformed": Reason("datagrams that are not WireGuard messages", _NOISE),
    "rx_unknown_index": Reason(
        "messages of a session that is not known", "usual after a restart of this end, for up to two minutes"
    ),
    "rx_queue_full": Reason(
        "messages that found no room to be handled", "the machine is overloaded: fewer peers, or more processors"
    ),
    "rx_other_shard": Reason(
        "handshakes that came behind data to a shard that takes none, and found no room on the way to the first",
        "a flood of handshakes; peers try again",
    ),
    "rx_bad_mac1": Reason(
        "handshakes from a sender that has another public key for us", f"check our public key at the peers; {_NOISE}"
    ),
    "rx_under_load": Reason(
        "handshakes without a cookie while there were too many", "a flood of handshakes; peers with a cookie pass"
    ),
    "rx_source_limited": Reason(
        "handshakes above 20 a second from one address", "a flood from there, or many peers behind one address"
    ),
    "rx_bad_cookie_reply": Reason("cookie replies to no message of ours", _NOISE),
    "rx_expired": Reason(
        "data under a session older than 180 s", "a few are usual; many: the peer's handshakes don't reach us"
    ),
    "rx_forged": Reason("data that is not authentic", "damaged on the way, or forged; nothing of it passes"),
    "rx_replayed": Reason(
        "data that came twice, or very late", "the network repeats or reorders packets by more than 8,000"
    ),
    "rx_not_ip": Reason("authentic data that is not an IP packet", "the peer sends something else: see what it runs"),
    "rx_source_not_allowed": Reason(
        "packets from an inner address that is not their peer's", "add the network behind it to that peer's AllowedIPs"
    ),
    "rx_tun_error": Reason("failed writes to the interface", "is the interface up? The log has other errors"),
    "rx_wait_error": Reason("failed waits of the receiving thread", "the machine lacks memory or descriptors"),
    # Handshakes that the control plane refuses
    "handshake_bad_length": Reason("handshake messages of a wrong length", _NOISE),
    "handshake_bad_type": Reason("handshake messages of an unknown type", _NOISE),
    "handshake_bad_mac1": Reason(
        "handshakes from a sender that has another public key for us", f"check our public key at the peers; {_NOISE}"
    ),
    "handshake_no_private_key": Reason("handshakes before a private key was set", "set PrivateKey"),
    "handshake_interface_down": Reason("handshakes while the interface was down", "`ip link set IFACE up`"),
    "handshake_low_order_public_key": Reason(
        "handshakes with a public key that is invalid (of low order)", "check the peers' public keys"
    ),
    "handshake_bad_initiation": Reason("initiations that are not authentic", _NOISE),
    "handshake_unknown_peer": Reason(
        "initiations with a public key that no peer here has", "add the peer: the log has its key and its address"
    ),
    "handshake_replayed_initiation": Reason("initiations that are older than one before", _CLOCK),
    "handshake_initiation_flood": Reason("initiations of a peer that come too fast", "see what that peer runs"),
    "handshake_unknown_index": Reason(
        "answers to no handshake in flight", "late or repeated answers; many: the path is very slow"
    ),
    "handshake_bad_response": Reason(
        "answers that do not authenticate", "the preshared keys differ, or ours is not this peer's public key there"
    ),
    "handshake_bad_cookie_reply": Reason("cookie replies that are not authentic", _NOISE),
}
"""By name, as `pywg stats` shows it after the prefix."""

WENT_WELL: Final[Mapping[str, str]] = {
    "tx_packets": "packets, and superframes of many, that were read from the interface",
    "tx_datagrams": "datagrams sent",
    "tx_sends": "system calls that sent them: datagrams by sends is how well they are batched",
    "tx_cookie_replies": "cookies sent to senders of handshakes, while there were too many",
    "tx_gso_refused": "sends that the kernel would not cut, and whose datagrams went one by one",
    "tx_lent": "times that the receiving thread took over sending, because there was little to send",
    "tx_returned": "times that the sending thread took it back",
    "tx_shared": "batches that were left to any free thread",
    "tx_turns": "batches whose thread waited for its turn to send them",
    "tx_turns_late": "times that it waited in vain: the threads had no processor each",
    "tx_source_cleared": "sends whose local address was gone, and that went from another",
    "tx_unreachable_sent": "ICMP errors to inner senders, whose packets no peer takes",
    "rx_datagrams": "datagrams received",
    "rx_handshakes": "handshake messages whose first MAC held, and which went on to the control plane",
    "rx_keepalives": "keepalives received",
    "rx_packets": "inner packets that went on to the interface",
    "rx_receives": "system calls that received",
    "rx_shared": "batches that were left to any free thread",
    "rx_tun_writes": "writes to the interface: packets by writes is how well they are merged",
}
"""Of the counters that are TRAFFIC, what each counts."""


def drops(stats: Mapping[str, str]) -> list[Drop]:
    """What was lost or refused, most first. A counter of a newer daemon that isn't known here is no drop."""
    found = []
    for key, value in stats.items():
        name = key.removeprefix(PREFIX)
        if name != key and name in REASONS and value.isdecimal() and int(value):
            found.append(Drop(name, int(value), REASONS[name]))
    return sorted(found, key=lambda drop: -drop.times)
