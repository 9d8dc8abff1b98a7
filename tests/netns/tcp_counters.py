"""What the kernel's TCP has counted in a network namespace."""

from bench.tunnel.namespace import Namespace


def late_segments(receiver: Namespace, sender: Namespace) -> int:
    """TCP segments that came before one that they follow; 0 where the sender sent one again: a loss delays others."""
    if _counted(sender, "snmp", "Tcp:")["RetransSegs"]:
        return 0
    return _counted(receiver, "netstat", "TcpExt:")["TCPOFOQueue"]


def _counted(namespace: Namespace, file: str, group: str) -> dict[str, int]:
    lines = namespace.run("cat", f"/proc/net/{file}").splitlines()
    names, values = (line.split()[1:] for line in lines if line.startswith(group))
    return dict(zip(names, map(int, values), strict=True))
