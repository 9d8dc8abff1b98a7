"""Keyed BLAKE2s (RFC 7693) of 16 bytes: a state that has taken in the key, and MACs from it.

Floods are made of handshake messages, and each needs a MAC. By libcrypto a MAC costs twice as much as its compressions.
Besides, a key that stays the same need not be compressed each time. No branch or lookup depends on what is hashed.
"""
from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    BLAKE2S_STATE_LEN = 32
    BLAKE2S_MAC_LEN = 16

cdef void blake2s_key(uint8_t *state, const uint8_t *key, uint32_t key_len) noexcept nogil
cdef void blake2s_mac(const uint8_t *state, const uint8_t *data, uint32_t data_len, uint8_t *mac) noexcept nogil
