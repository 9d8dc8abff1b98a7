"""The data plane, which moves packets in threads without the GIL.

Its folders are floors, from below: sys, wire, crypto, state and reorder, udp, send and receive, threads. The modules
outside the folders are for `pywg._fastpath`, the roof, which is all that the rest of Python may call.
"""
