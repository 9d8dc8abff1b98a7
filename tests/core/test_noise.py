"""The handshake against independent ones: noiseprotocol message by message; with extra vectors, recorded ones.

What WireGuard adds to Noise, checked here too: message headers, the timestamp as first payload, mac1 and mac2, and that
each transport key names its direction.
"""

import hashlib
import random
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from noise.connection import Keypair as NoiseKeypair
from noise.connection import NoiseConnection

from pywg.core import crypto, handshake
from pywg.core.cookie import CookieJar
from pywg.core.handshake import Handshake, Identity, Symmetric
from pywg.core.messages import Initiation, Response
from pywg.dataplane.crypto.secret import Secret
from tests import paper
from tests.core import vectors

# noiseprotocol warns of chosen ephemeral keys, which is what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:One of ephemeral keypairs is already set")

TIMESTAMP = bytes.fromhex("400000005b52647b15000000")


class Ends:
    """Both ends of one handshake of ours, with chosen keys."""

    def __init__(self, initiator_private: bytes, responder_private: bytes, preshared_key: bytes) -> None:
        self.initiator = Identity(Secret(initiator_private))
        self.responder = Identity(Secret(responder_private))
        self.at_initiator = Handshake(1, self.responder.public_key)
        self.at_responder = Handshake(2, self.initiator.public_key)
        if any(preshared_key):
            self.at_initiator.preshared_key = Secret(preshared_key)
            self.at_responder.preshared_key = Secret(preshared_key)

    def find(self, public_key: bytes) -> Handshake | None:
        return self.at_responder if public_key == self.initiator.public_key else None


def fixed(private: bytes) -> handshake.Random:
    """A source of randomness that gives one ephemeral key, in a fresh object as the core wipes it."""

    def give(length: int) -> bytes:
        assert length == len(private)
        return bytes(bytearray(private))

    return give


def noise(
    initiator: bool, static: bytes, ephemeral: bytes, preshared_key: bytes, remote: bytes = b""
) -> NoiseConnection:
    connection = NoiseConnection.from_name(paper.CONSTRUCTION.encode())
    connection.set_prologue(paper.IDENTIFIER.encode())
    connection.set_psks(psks=[preshared_key])
    connection.set_keypair_from_private_bytes(NoiseKeypair.STATIC, static)
    connection.set_keypair_from_private_bytes(NoiseKeypair.EPHEMERAL, ephemeral)
    if initiator:
        connection.set_as_initiator()
        connection.set_keypair_from_public_bytes(NoiseKeypair.REMOTE_STATIC, remote)
    else:
        connection.set_as_responder()
    connection.start_handshake()
    return connection


@pytest.mark.parametrize("preshared_key", [bytes(32), b"\xa5" * 32], ids=["no psk", "psk"])
@pytest.mark.parametrize("seed", range(5))
def test_our_initiator_with_noiseprotocol(seed: int, preshared_key: bytes) -> None:
    rng = random.Random(seed)
    static_i, static_r, ephemeral_i, ephemeral_r = (rng.randbytes(32) for _ in range(4))
    ends = Ends(static_i, static_r, preshared_key)
    oracle = noise(False, static_r, ephemeral_r, preshared_key)
    twin = noise(True, static_i, ephemeral_i, preshared_key, ends.responder.public_key)

    sent = handshake.create_initiation(ends.at_initiator, ends.initiator, 7, TIMESTAMP, fixed(ephemeral_i))
    wire = b"".join(sent[1:])
    assert wire == bytes(twin.write_message(TIMESTAMP))
    assert bytes(oracle.read_message(wire)) == TIMESTAMP
    answer = bytes(oracle.write_message(b""))
    handshake.consume_response(Response(9, 7, answer[:32], answer[32:]), ends.at_initiator, ends.initiator)
    assert ends.at_initiator.hash == oracle.get_handshake_hash()
    session = handshake.begin_session(ends.at_initiator, 1.0)
    assert session.initiator
    assert (session.local_index, session.remote_index) == (7, 9)
    sealed = ChaCha20Poly1305(bytes(session.send_key)).encrypt(bytes(12), b"ping", None)
    assert oracle.decrypt(sealed) == b"ping"
    assert ChaCha20Poly1305(bytes(session.receive_key)).decrypt(bytes(12), oracle.encrypt(b"pong"), None) == b"pong"


@pytest.mark.parametrize("preshared_key", [bytes(32), b"\xa5" * 32], ids=["no psk", "psk"])
@pytest.mark.parametrize("seed", range(5))
def test_our_responder_with_noiseprotocol(seed: int, preshared_key: bytes) -> None:
    rng = random.Random(seed)
    static_i, static_r, ephemeral_i, ephemeral_r = (rng.randbytes(32) for _ in range(4))
    ends = Ends(static_i, static_r, preshared_key)
    oracle = noise(True, static_i, ephemeral_i, preshared_key, ends.responder.public_key)
    twin = noise(False, static_r, ephemeral_r, preshared_key)

    wire = bytes(oracle.write_message(TIMESTAMP))
    twin.read_message(wire)
    message = Initiation(7, wire[:32], wire[32:80], wire[80:])
    found = handshake.consume_initiation(message, ends.responder, ends.find, 1.0)
    assert found is ends.at_responder
    assert found.latest_timestamp == TIMESTAMP
    answer = handshake.create_response(found, 9, fixed(ephemeral_r))
    assert answer[:2] == (9, 7)
    assert b"".join(answer[2:]) == bytes(twin.write_message(b""))
    assert bytes(oracle.read_message(b"".join(answer[2:]))) == b""
    assert found.hash == oracle.get_handshake_hash()
    session = handshake.begin_session(found, 1.0)
    assert not session.initiator
    sealed = ChaCha20Poly1305(bytes(session.send_key)).encrypt(bytes(12), b"pong", None)
    assert oracle.decrypt(sealed) == b"pong"
    assert ChaCha20Poly1305(bytes(session.receive_key)).decrypt(bytes(12), oracle.encrypt(b"ping"), None) == b"ping"


def test_symmetric_state_with_the_published_noise_vector() -> None:
    [vector] = vectors.load("noise_ikpsk2_25519_chachapoly_blake2s.json")["vectors"]
    keys = {
        name: bytes.fromhex(value)
        for name, value in vector.items()
        if isinstance(value, str) and name != "protocol_name"
    }
    psk = bytes.fromhex(vector["init_psks"][0])
    static_i, ephemeral_i, static_r, ephemeral_r = (
        crypto.private_key_from(Secret(keys[name]))
        for name in ("init_static", "init_ephemeral", "resp_static", "resp_ephemeral")
    )
    public = crypto.public_key_of
    assert public(static_r) == keys["init_remote_static"]
    name_hash = crypto.blake2s_hash(vector["protocol_name"].encode())
    start = crypto.blake2s_hash(crypto.blake2s_hash(name_hash + keys["init_prologue"]) + public(static_r))
    messages = [(bytes.fromhex(it["payload"]), bytes.fromhex(it["ciphertext"])) for it in vector["messages"]]

    symmetric = Symmetric(start)
    symmetric.mix_ephemeral(public(ephemeral_i))
    first = public(ephemeral_i)
    first += symmetric.seal(symmetric.mix_dh(crypto.dh(ephemeral_i, public(static_r))), public(static_i))
    first += symmetric.seal(symmetric.mix_dh(crypto.dh(static_i, public(static_r))), messages[0][0])
    assert first == messages[0][1]
    symmetric.mix_ephemeral(public(ephemeral_r))
    symmetric.mix_dh(crypto.dh(ephemeral_r, public(ephemeral_i)))
    symmetric.mix_dh(crypto.dh(ephemeral_r, public(static_i)))
    second = public(ephemeral_r) + symmetric.seal(symmetric.mix_preshared_key(psk), messages[1][0])
    assert second == messages[1][1]
    assert symmetric.hash == keys["handshake_hash"]
    transport_keys = symmetric.split()
    for number, (payload, ciphertext) in enumerate(messages[2:]):
        nonce = struct.pack("<IQ", 0, number // 2)
        assert crypto.seal(bytes(transport_keys[number % 2]), payload, b"", nonce) == ciphertext


def state_of(one: Handshake) -> tuple[bytes, bytes]:
    assert one.chaining_key is not None
    return bytes(one.chaining_key), one.hash


def check_transcript(recorded: dict[str, Any]) -> None:
    it = {
        name: bytes.fromhex(value) for name, value in recorded.items() if isinstance(value, str) and name != "capture"
    }
    ends = Ends(it["initiator_static_private"], it["responder_static_private"], it["preshared_key"])
    initiator_index, responder_index = recorded["initiator_index"], recorded["responder_index"]
    after_initiation = (it["chaining_key_after_initiation"], it["hash_after_initiation"])
    final = (it["chaining_key_final"], it["hash_final"])

    random_i = fixed(it["initiator_ephemeral_private"])
    sent = handshake.create_initiation(ends.at_initiator, ends.initiator, initiator_index, it["tai64n"], random_i)
    assert CookieJar(ends.responder.public_key).add_macs(sent.pack(), 1.0) == it["initiation"]
    assert state_of(ends.at_initiator) == after_initiation

    received = Initiation.unpack(it["initiation"])
    assert handshake.consume_initiation(received, ends.responder, ends.find, 1.0) is ends.at_responder
    assert state_of(ends.at_responder) == after_initiation
    assert ends.at_responder.latest_timestamp == it["tai64n"]

    answer = handshake.create_response(ends.at_responder, responder_index, fixed(it["responder_ephemeral_private"]))
    assert CookieJar(ends.initiator.public_key).add_macs(answer.pack(), 1.0) == it["response"]
    assert state_of(ends.at_responder) == final

    handshake.consume_response(Response.unpack(it["response"]), ends.at_initiator, ends.initiator)
    assert state_of(ends.at_initiator) == final

    near, far = handshake.begin_session(ends.at_initiator, 1.0), handshake.begin_session(ends.at_responder, 1.0)
    assert (bytes(near.send_key), bytes(near.receive_key)) == (it["initiator_send_key"], it["responder_send_key"])
    assert (bytes(far.send_key), bytes(far.receive_key)) == (it["responder_send_key"], it["initiator_send_key"])
    for packet in recorded["transport"]:
        datagram, plaintext = bytes.fromhex(packet["datagram"]), bytes.fromhex(packet["plaintext"])
        sender, receiver_index = (near, responder_index) if packet["sender"] == "initiator" else (far, initiator_index)
        header = struct.pack("<IIQ", 4, receiver_index, packet["counter"])
        nonce = struct.pack("<IQ", 0, packet["counter"])
        assert sender.remote_index == receiver_index
        assert header + crypto.seal(bytes(sender.send_key), plaintext, b"", nonce) == datagram


def test_recorded_handshakes_are_rebuilt_byte_for_byte() -> None:
    transcripts = vectors.load("wireguard_transcripts.json")["vectors"]
    assert len(transcripts) == 4
    assert sum(len(recorded["transport"]) for recorded in transcripts) == 18
    for recorded in transcripts:
        check_transcript(recorded)


def test_mac1_is_the_papers() -> None:
    public_key = b"\x07" * 32
    body = b"\x01\x00\x00\x00" + b"body" * 28
    key = hashlib.blake2s(paper.LABEL_MAC1.encode() + public_key).digest()
    mac1 = hashlib.blake2s(body, key=key, digest_size=16).digest()
    assert CookieJar(public_key).add_macs(body, 1.0) == body + mac1 + bytes(16)
