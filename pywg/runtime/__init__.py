"""The shell around the core: event loop, sockets, interface and configuration socket.

    daemon/ selfbench/    one daemon from start to end; what this machine can do for one
    device/ confine/      the core joined to the data plane; the privileges that the daemon drops
    net/ uapi/            what only Linux has; the configuration socket
    base/                 log, clocks, libc

Each wing knows those below it. Importing this package costs nothing, because a daemon must answer within half a second
of its start.
"""
