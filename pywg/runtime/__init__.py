"""The shell around the core: the loop, the sockets, the interface and the configuration socket.

    daemon/ selfbench/    one daemon from start to end; what this machine can do for one
    device/ confine/      the core joined to the data plane; what the daemon gives up
    net/ uapi/            what only Linux has; the configuration socket
    base/                 log, clocks, libc

Each wing knows those below it. Importing this package costs nothing: a daemon must answer within half a second of
its start.
"""
