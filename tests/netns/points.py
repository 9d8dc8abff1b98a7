"""The list that docs/drop-in.md is about: what is asked of a drop-in, and the faults that others shipped, row by row.

The tests of a row are those that name it: `@pytest.mark.dropin` takes names of POINTS, `@pytest.mark.known_bug` the
beginning of a fault in KNOWN_BUGS. tests/meta/test_points.py sees to it that every row has tests and every name a row.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table: of a point its name and what it says, of a fault the fault and where it was."""

    name: str
    what: str


POINTS = (
    Row("1", "`COMMAND [-f\\|--foreground] IFACE`, `run IFACE`, `--version`; bad usage: one line, status 2"),
    Row("2", "LOG_LEVEL, the form of the lines, the level at run time"),
    Row("3", "WG_TUN_FD, WG_UAPI_FD, WG_PROCESS_FOREGROUND"),
    Row("4", "background start: the parent's status and words"),
    Row(
        "5",
        "SIGTERM, SIGINT, link deleted, socket removed: status 0 within a second, nothing left; SIGHUP does nothing",
    ),
    Row("6", "the UAPI socket: modes, stale ones, live ones"),
    Row("7", "UAPI: operations on a connection, negative errno, end of the stream"),
    Row("8", "UAPI: what get shows"),
    Row("9", "UAPI: what set takes, whole or not at all"),
    Row("10", "own key, clamping, moving prefixes, keepalive 0 to N, new private key"),
    Row("11", "10,000 peers and 131,072 allowed IPs while traffic flows"),
    Row("12", "up, down, another namespace, MTU changes"),
    Row("13", "both families on one port, no IPv6, ports taken"),
    Row("14", "fwmark and listen port at run time, without losing a session"),
    Row("15", "sticky source"),
    Row("16", "roaming and cryptokey routing"),
    Row("17", "the protocol: retries, keepalives, keys"),
    Row("18", "byte counters"),
    Row("19", "ICMP unreachable, ECN by RFC 6040"),
    Row("20", "under load: cookie replies bound to address and port, and no one else's trouble"),
    Row("21", "systemd: wg-quick@, a native unit, sd_notify, watchdog, hardening"),
    Row("wg-quick", "`wg-quick up`, `down`, `save`, `strip` with a file that has everything in it"),
    Row("wg syncconf, addconf, setconf", "on a running interface"),
    Row("wg set", "every option of it"),
    Row("upgrade", "WG_TUN_FD: the next daemon keeps the interface, traffic resumes within 2 s"),
    Row("binding", "sockets on one address or one device, VRF"),
    Row("rule-based routing", "0.0.0.0/0 and ::/0: fwmark rules, suppress_prefixlength"),
    Row("cryptokey routing", "the most specific prefix owns, both ways"),
    Row("prefix moves", "between peers, under traffic"),
    Row("nested tunnels", "three deep"),
    Row("routing loop", "the endpoint is routed into the tunnel: no melt-down"),
    Row("path MTU", "a path with a smaller MTU than the messages"),
    Row("NAT", "persistent keepalive through a NAT with 2 s time-outs"),
    Row("low-order public keys", "no packet leaves"),
    Row("ECN", "both directions, offloads on and off"),
    Row("DSCP", "not leaked, either way"),
    Row("Bad input", "every malformed line and half-written request: errno, log line, state as before"),
    Row("UAPI clients", "slow, silent, hostile: none blocks another"),
    Row("time", "machines that sleep, wall clocks that jump, a day and 30 years of it"),
    Row("endpoint changes", "every second under traffic"),
    Row("configuration changes", "1,000 under iperf3"),
    Row("up and down", "again and again, under traffic"),
    Row("kill -9 and restart", "under load: resumes within 2 s when we initiate"),
    Row("loss", "1, 5 and 20 %"),
    Row("resources", "descriptors, threads and memory back to where they were"),
)

KNOWN_BUGS = (
    Row("An oversized UDP datagram ends the receive task", "gotatun 0.7.2"),
    Row("An oversized GRO segment ends the receive task", "gotatun 0.7.2"),
    Row("Reject-After-Messages not enforced", "gotatun, boringtun"),
    Row("A nonce could wrap", "gotatun, boringtun"),
    Row("A 32-bit counter", "gotatun, boringtun"),
    Row("A peer may send from a subnet that a more specific peer owns", "gotatun 0.7.2"),
    Row("Cookie MAC without the source port", "gotatun 0.6.0"),
    Row("A global limiter lets one attacker push everyone into cookie mode", "gotatun 0.4.1"),
    Row("Roams only on handshakes", "gotatun"),
    Row("Roams on a cookie reply", "gotatun"),
    Row("A PSK change is ignored", "gotatun"),
    Row("Keepalives answer keepalives", "gotatun"),
    Row("Clock jump panics", "gotatun"),
    Row("IPv6 source addresses parsed wrongly from recvmmsg", "gotatun"),
    Row("Guessable session indices", "boringtun"),
    Row("Missing 16-byte padding", "boringtun"),
    Row("A forged handshake response clears the pending handshake", "tailscale-rs"),
    Row("A rekey never gives up", "tailscale-rs"),
    Row("Failed inbound handshakes leak memory", "tailscale"),
    Row("Allowed-IPs trie leak", "tailscale"),
    Row("Staged packets exhaust a buffer pool: deadlock", "tailscale"),
    Row("Memory grows without bound under load", "wireguard-go, amneziawg-go"),
    Row("Memory grows without bound after days", "wireguard-go, amneziawg-go"),
    Row("Deadlock on close", "wireguard-go"),
    Row("Nil dereference in UAPI get", "wireguard-go"),
    Row("Race on the endpoint", "wireguard-go"),
    Row("Wrong padding of the GSO cmsg", "wireguard-go"),
    Row("Self-peer key-change deadlock", "wireguard-go"),
    Row("Sticky cmsg parsing", "wireguard-go"),
    Row("Stale source after failover or suspend", "wireguard-go"),
    Row("Port reported as 0 on hosts without IPv6", "wireguard-go"),
    Row("An unknown virtio GSO type ends the daemon", "wireguard-go, sing-tun"),
    Row("A probe before link-up (EIO) ends the daemon", "wireguard-go, sing-tun"),
    Row("GSO over a broken path: silent black hole (EMSGSIZE, EPERM)", "wireguard-go"),
    Row("No knob to turn GSO off", "wireguard-go"),
    Row("Linux 7.0-rc1..7.1-rc5: a GSO send whose last segment equals the others is damaged", "tailscale"),
    Row("Several TUN readers or writers reorder one flow and throttle TCP", "firezone"),
    Row("Replay window of 32, 192 or 1024 packets", "boringtun, tailscale-rs"),
    Row("Window moved before authentication", "boringtun, tailscale-rs"),
    Row("UAPI errors with positive errno", "boringtun"),
    Row("Editing an existing peer panics", "boringtun"),
    Row("A clock far in the future makes a static key unusable (CVE-2021-46873)", "the protocol"),
    Row("Replay-counter data race (CVE-2024-26861)", "Linux"),
)
