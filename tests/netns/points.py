"""The list that docs/drop-in.md is about: what is asked of a drop-in, row by row, and the tests that carry no mark.

A row's name is what `@pytest.mark.dropin` or `@pytest.mark.known_bug` takes; a known bug's mark is the beginning of it.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table. `elsewhere`: beginnings of the node ids of tests that cover it without saying so."""

    name: str
    what: str
    elsewhere: tuple[str, ...] = ()


POINTS = (
    Row(
        "1",
        "`COMMAND [-f\\|--foreground] IFACE`, `run IFACE`, `--version`; bad usage: one line, status 2",
        ("tests/cli/test_command_line.py", "tests/netns/test_bad_input.py::test_bad_usage"),
    ),
    Row("2", "LOG_LEVEL, the form of the lines, the level at run time", ("tests/runtime/test_log.py",)),
    Row(
        "3",
        "WG_TUN_FD, WG_UAPI_FD, WG_PROCESS_FOREGROUND",
        ("tests/netns/test_upgrade.py", "tests/runtime/test_tun.py"),
    ),
    Row("4", "background start: the parent's status and words", ("tests/runtime/test_daemon.py",)),
    Row(
        "5",
        "SIGTERM, SIGINT, link deleted, socket removed: status 0 within a second, nothing left; SIGHUP does nothing",
        ("tests/netns/test_lifecycle.py::test_exits_0", "tests/netns/test_lifecycle.py::test_sighup"),
    ),
    Row("6", "the UAPI socket: modes, stale ones, live ones", ("tests/netns/test_bad_input.py::test_name_served",)),
    Row("7", "UAPI: operations on a connection, negative errno, end of the stream"),
    Row("8", "UAPI: what get shows"),
    Row("9", "UAPI: what set takes, whole or not at all"),
    Row("10", "own key, clamping, moving prefixes, keepalive 0 to N, new private key"),
    Row("11", "10,000 peers and 131,072 allowed IPs while traffic flows"),
    Row("12", "up, down, another namespace, MTU changes", ("tests/netns/test_lifecycle.py::test_link_down",)),
    Row("13", "both families on one port, no IPv6, ports taken", ("tests/netns/test_bad_input.py::test_port_taken",)),
    Row("14", "fwmark and listen port at run time, without losing a session"),
    Row("15", "sticky source", ("tests/netns/test_sticky_source.py", "tests/runtime/test_routes.py")),
    Row("16", "roaming and cryptokey routing", ("tests/netns/test_routing.py",)),
    Row(
        "17", "the protocol: retries, keepalives, keys", ("tests/netns/test_interop.py", "tests/netns/test_hostile.py")
    ),
    Row("18", "byte counters"),
    Row("19", "ICMP unreachable, ECN by RFC 6040"),
    Row(
        "20",
        "under load: cookie replies bound to address and port, and no one else's trouble",
        ("tests/core/test_cookie.py", "tests/fastpath/test_plane_under_load.py"),
    ),
    Row(
        "21",
        "systemd: wg-quick@, a native unit, sd_notify, watchdog, hardening",
        (
            "tests/netns/test_sandbox.py",
            "tests/netns/test_systemd.py",
            "tests/runtime/test_systemd_units.py",
            "tests/runtime/test_notify.py",
        ),
    ),
    Row("wg-quick", "`wg-quick up`, `down`, `save`, `strip` with a file that has everything in it"),
    Row("wg syncconf, addconf, setconf", "on a running interface"),
    Row("wg set", "every option of it"),
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
    Row("endpoint changes", "every second under traffic"),
    Row("configuration changes", "1,000 under iperf3"),
    Row("up and down", "again and again, under traffic"),
    Row("kill -9 and restart", "under load: resumes within 2 s when we initiate"),
    Row("loss", "1, 5 and 20 %"),
    Row("resources", "descriptors, threads and memory back to where they were"),
)

KNOWN_BUGS = (
    Row(
        "An oversized UDP datagram, or GRO segment, ends the receive task",
        "gotatun 0.7.2",
        ("tests/netns/test_hostile.py::test_many_oversized", "tests/fastpath/test_plane_hostile.py"),
    ),
    Row(
        "Reject-After-Messages not enforced; a nonce could wrap",
        "gotatun, boringtun",
        ("tests/fastpath/test_plane_ages.py", "tests/fastpath/test_replay.py"),
    ),
    Row("A peer may send from a subnet that a more specific peer owns", "gotatun 0.7.2"),
    Row(
        "Cookie MAC without the source port; a global limiter",
        "gotatun 0.6.0, 0.4.1",
        ("tests/core/test_cookie.py",),
    ),
    Row(
        "Roams only on handshakes; roams on a cookie reply; a PSK change is ignored; keepalives answer keepalives",
        "gotatun",
        ("tests/core/test_simulated_adversity.py",),
    ),
    Row("IPv6 source addresses parsed wrongly", "gotatun", ("tests/fastpath/test_plane_endpoints.py",)),
    Row(
        "Guessable session indices; missing 16-byte padding",
        "boringtun",
        ("tests/core/test_keypairs_and_indices.py", "tests/fastpath/test_plane_seal.py"),
    ),
    Row(
        "A forged handshake response clears the pending handshake; a rekey never gives up",
        "tailscale-rs",
        ("tests/core/test_hostile_datagrams.py", "tests/core/test_simulated_sessions.py"),
    ),
    Row(
        "Failed inbound handshakes leak memory; allowed-IPs trie leak",
        "tailscale",
        ("tests/fastpath/test_allowedips.py",),
    ),
    Row("Staged packets exhaust a buffer pool: deadlock", "tailscale", ("tests/fastpath/test_plane_staging.py",)),
    Row(
        "Memory grows without bound under load, or after days",
        "wireguard-go, amneziawg-go",
        ("tests/core/test_cookie.py",),
    ),
    Row(
        "Deadlock on close; nil dereference in UAPI get; race on the endpoint; wrong padding of the GSO cmsg",
        "wireguard-go",
        ("tests/netns/test_lifecycle.py", "tests/fastpath/test_plane_lifecycle.py"),
    ),
    Row(
        "Self-peer key-change deadlock; sticky cmsg parsing; stale source after failover or suspend",
        "wireguard-go",
        ("tests/netns/test_sticky_source.py",),
    ),
    Row("Port reported as 0 on hosts without IPv6", "wireguard-go"),
    Row(
        "An unknown virtio GSO type, or a probe before link-up (EIO), ends the daemon",
        "wireguard-go, sing-tun",
        ("tests/netns/test_lifecycle.py::test_probes_before_link_up", "tests/fastpath/test_segment.py"),
    ),
    Row(
        "GSO over a broken path: silent black hole (EMSGSIZE, EPERM), no knob to turn it off",
        "wireguard-go",
        (
            "tests/netns/test_dropin_routing.py::test_path_with_a_smaller_mtu",
            "tests/fastpath/test_plane_superframes.py",
        ),
    ),
    Row(
        "Linux 7.0-rc1..7.1-rc5: a GSO send whose last segment equals the others is damaged",
        "tailscale",
        ("tests/fastpath/test_plane_equal_tail.py", "tests/runtime/test_kernel.py"),
    ),
    Row(
        "Several TUN readers or writers reorder one flow and throttle TCP",
        "firezone",
        ("tests/netns/test_mtu.py::test_segmented_udp",),
    ),
    Row(
        "Replay window of 32, 192 or 1024 packets; window moved before authentication",
        "boringtun, tailscale-rs",
        ("tests/fastpath/test_replay.py", "tests/netns/test_hostile.py::test_forged_counters"),
    ),
    Row(
        "UAPI errors with positive errno; editing an existing peer panics",
        "boringtun",
        ("tests/netns/test_dropin_uapi.py::test_errno_of", "tests/netns/test_dropin_peers.py::test_update_only"),
    ),
    Row(
        "A clock far in the future makes a static key unusable (CVE-2021-46873)",
        "the protocol",
        ("tests/core/test_simulated_adversity.py",),
    ),
    Row("Replay-counter data race (CVE-2024-26861)", "Linux", ("tests/fastpath/test_plane_open.py",)),
)
