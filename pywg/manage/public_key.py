"""The public key of a private key, for commands: what computes it is loaded with the first one."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def public_key_of(private_key: "ReadableBuffer") -> bytes:
    """X25519's, of 32 bytes, clamped or not."""
    # Half of a command's memory, and many commands need none of it.
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: PLC0415

    return X25519PrivateKey.from_private_bytes(memoryview(private_key)).public_key().public_bytes_raw()
