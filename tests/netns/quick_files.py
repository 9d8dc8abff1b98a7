"""Files as people have them for wg-quick: each with what it is an example of. `parts` makes them text."""

from bench.tunnel.command import run

KEY = "4Ni1GiuSCYBNYbZeqwS7zqnLBIMHcxEEQi6sfKKbbHQ="
"""Of this end: private, and good for tests alone."""
PSK = "UJvQAgAAAABfVg8kr1ZUWWwFe0Vps9r0H5jYkXmJPwE="
ONE, TWO, THREE = (
    "9CFtwQAAgC2/Vg8kr1ZUWWwFe0Vps9r0H5jYkXmJPwE=",
    "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
    "gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=",
)
"""Public keys of peers."""
HEAD = f"[Interface]\nPrivateKey = {KEY}\nListenPort = 41194\n"


def peer(key: str, allowed: str, more: str = "") -> str:
    """A section."""
    return f"[Peer]\nPublicKey = {key}\nAllowedIPs = {allowed}\n{more}"


def _file(interface: str, *peers: str) -> str:
    return f"{HEAD}{interface}\n" + "\n".join(peers)


DUAL = "Address = 10.78.0.1/24, fd00:78::1/64"
BOTH = "0.0.0.0/0, ::/0"
NEAR, NEAR6 = "Endpoint = 10.77.0.2:51820\n", "Endpoint = [fd00:77::2]:51820\n"

FILES = {
    "dual stack": _file(DUAL, peer(ONE, "10.78.0.2/32, fd00:78::2/128, 192.168.2.0/24, fd00:2::/48", NEAR)),
    "no peers": _file(DUAL),
    "nothing but a key": HEAD,
    "no address": _file("", peer(ONE, "10.9.0.0/16, fd00:9::/32", NEAR)),
    "address without a length": _file("Address = 10.78.0.1\nAddress=fd00:78::1", peer(ONE, "10.78.0.0/24", NEAR)),
    "addresses in lines": _file("Address = 10.78.0.1/24\nAddress = 10.79.9.1/30,10.79.9.5/30\nAddress = fd00:78::1/64"),
    "two of one network": _file("Address = 10.78.0.1/24, 10.78.0.9/24", peer(ONE, "10.78.1.0/24", NEAR)),
    "default route": _file("Address = 10.78.0.1/24", peer(ONE, "0.0.0.0/0", NEAR)),
    "default route of IPv6": _file("Address = fd00:78::1/64", peer(ONE, "::/0", NEAR6)),
    "default routes": _file(DUAL, peer(ONE, BOTH, NEAR)),
    "default routes in halves": _file(DUAL, peer(ONE, "0.0.0.0/1, 128.0.0.0/1, ::/1, 8000::/1", NEAR)),
    "default routes and others": _file(DUAL, peer(ONE, BOTH, NEAR), peer(TWO, "10.5.0.0/16, 10.78.0.7/32")),
    "default route without an address of its family": _file("Address = 10.78.0.1/24", peer(ONE, BOTH, NEAR)),
    "default routes with a mark": _file(f"{DUAL}\nFwMark = 0x1234", peer(ONE, BOTH, NEAR)),
    "mark off": _file(f"{DUAL}\nFwMark = off", peer(ONE, BOTH, NEAR)),
    "mark alone": _file(f"{DUAL}\nFwMark = 4660", peer(ONE, "10.9.0.0/16", NEAR)),
    "table off": _file(f"{DUAL}\nTable = off", peer(ONE, BOTH, NEAR)),
    "table by number": _file(f"{DUAL}\nTable = 1234", peer(ONE, "0.0.0.0/0, 10.78.0.2/32, fd00:9::/64", NEAR)),
    "table above a byte": _file(f"{DUAL}\nTable = 70000", peer(ONE, "10.9.0.0/16, fd00:9::/64", NEAR)),
    "table by name": _file(f"{DUAL}\nTable = main", peer(ONE, "10.9.0.0/16, fd00:9::/64", NEAR)),
    "table auto": _file(f"{DUAL}\nTable = auto", peer(ONE, "10.9.0.0/16", NEAR)),
    "mtu": _file(f"{DUAL}\nMTU = 1380", peer(ONE, BOTH, NEAR)),
    "mtu of the endpoint's route": _file(DUAL, peer(ONE, "10.9.0.0/16", "Endpoint = 10.76.0.2:51820\n")),
    "mtu of the widest": _file(
        DUAL, peer(ONE, "10.9.0.0/16", "Endpoint = 10.76.0.2:51820\n"), peer(TWO, "10.8.0.0/16", NEAR6)
    ),
    "mtu without endpoints": _file(DUAL, peer(ONE, "10.9.0.0/16")),
    "dns": _file(f"{DUAL}\nDNS = 10.78.0.53, fd00:78::53, example.org, corp.example", peer(ONE, BOTH, NEAR)),
    "dns in lines": _file(f"{DUAL}\nDNS = 10.78.0.53\nDNS = 10.78.0.54", peer(ONE, "10.9.0.0/16", NEAR)),
    "search domain alone": _file(f"{DUAL}\nDNS = example.org", peer(ONE, "10.9.0.0/16", NEAR)),
    "hooks": _file(
        f"{DUAL}\nPreUp = echo pre-up %i >> LOG\nPostUp = echo post-up %i; ip -4 rule add from 10.1.1.1 table main\n"
        "PostUp = [[ -n $BASH_VERSION ]] && echo 'two  words' >> LOG\n"
        "PreDown = ip -4 rule del from 10.1.1.1 table main; echo pre-down %i >> LOG\nPostDown = echo gone %i >> LOG",
        peer(ONE, "10.9.0.0/16", NEAR),
    ),
    "routes within routes": _file(
        DUAL, peer(ONE, "10.9.1.0/24, 10.9.0.0/16, 10.9.1.7/32", NEAR), peer(TWO, "10.0.0.0/8, fd00:78::/60")
    ),
    "host bits": _file(DUAL, peer(ONE, "10.9.1.7/16, fd00:9::7/32", NEAR)),
    "one prefix of two peers": _file(DUAL, peer(ONE, "10.9.0.0/16", NEAR), peer(TWO, "10.9.0.0/16, 10.8.0.0/16")),
    "one peer twice": _file(DUAL, peer(ONE, "10.9.0.0/16", NEAR), peer(TWO, "10.7.0.0/16"), peer(ONE, "10.8.0.0/16")),
    "several peers": _file(
        DUAL,
        peer(ONE, "10.78.0.2/32, 192.168.2.0/24", f"{NEAR}PresharedKey = {PSK}\nPersistentKeepalive = 25\n"),
        peer(TWO, "10.78.0.3/32, 192.168.3.0/24", f"{NEAR6}PersistentKeepalive = off\n"),
        peer(THREE, "10.78.0.4/32"),
    ),
    "host name": _file(DUAL, peer(ONE, "10.9.0.0/16", "Endpoint = localhost:51820\n")),
    "link-local endpoint": _file(DUAL, peer(ONE, "10.9.0.0/16", "Endpoint = [fe80::7%near]:51820\n")),
    "IPv4-mapped endpoint": _file(DUAL, peer(ONE, "10.9.0.0/16", "Endpoint = [::ffff:10.77.0.2]:51820\n")),
    "link-local prefix": _file("Address = fd00:78::1/64, fe80::78/64", peer(ONE, "fe80::2/128, fd00:9::/48", NEAR6)),
    "carriage returns": _file(DUAL, peer(ONE, BOTH, NEAR)).replace("\n", "\r\n"),
    "comments, cases, tabs, no last line": (
        f"# a file\n\n[interface]   # us\n\tprivatekey={KEY} # secret\nADDRESS\t=\t10.78.0.1/24# here\n"
        f"listenport =41194\ntable = \nmtu =\n\n[PEER]\npublickey= {ONE}\nallowedips = 10.9.0.0/16,10.8.0.0/16 # both\n"
        f"ENDPOINT = 10.77.0.2:51820\n# end\npersistentKeepalive = 15"
    ),
}


def parts(name: str, log: str) -> str:
    """The text of a file, whose hooks write to `log`."""
    return FILES[name].replace("LOG", log)


def public(private: str) -> str:
    """Of a key."""
    return run("wg", "pubkey", stdin=private).strip()
