"""The protocol, pure: bytes and `now` in; datagrams, events and the next deadline out.

Nothing here knows a socket, a clock, a loop or a source of randomness: `Tunnel` is given what it needs. Transport
packets are none of its business either: the data plane carries them, with the keys this package derives.
"""
