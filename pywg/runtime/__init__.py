"""The shell around the core: the loop, the sockets, the interface and the configuration socket.

`service` is the daemon from start to end, `device` joins the core to the data plane, and each of the other modules
talks to one part of the system. Importing this package costs nothing: a daemon must answer within half a second of
its start.
"""
