"""The data plane, which moves packets in threads without the GIL.

Its folders are floors, from below: sys, wire, crypto, state and reorder, udp, send and receive, threads. What lies in
none is for `pywg._fastpath`, the roof: all that the rest of Python may call.
"""
