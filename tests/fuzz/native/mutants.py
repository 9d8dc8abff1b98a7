"""Whether the targets can find: python -m tests.fuzz.native.mutants [MUTANT...].

A mutant is one fault, put into a copy of the data plane. Its target begins with the kept corpus and has to find it
within SECONDS of CPU. Status 1: one was not found.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fuzz.native.builds import CHEAP, CHECKED, FAST, WITH_CHEAP, Build
from tests.fuzz.native.runner import CHEAP_SHARE, Done, aeads, fuzz
from tests.sanitizers import ROOT

SECONDS = 60.0
_TOUCHED = "mutated"


@dataclass(frozen=True)
class Mutant:
    """In a file of pywg/dataplane, `before` becomes `after`, wherever it stands."""

    name: str
    target: str
    path: str
    before: str
    after: str

    def text(self) -> str:
        """What the file is then."""
        whole = (ROOT / "pywg/dataplane" / self.path).read_text()
        assert self.before in whole, f"{self.name}: {self.path} has no {self.before!r}"
        return whole.replace(self.before, self.after)


MUTANTS = (
    Mutant(
        "plan: the ring's room", "outbound", "send/seal.pxd", "b.ring_used + PACKET_ROOM > RING_LEN or b.run", "b.run"
    ),
    Mutant("plan: one run too many", "outbound", "send/seal.pxd", "+ runs > MAX_RUNS:", "+ runs > MAX_RUNS + 1:"),
    Mutant(
        "plan: a run of 65 datagrams",
        "outbound",
        "send/seal.pyx",
        "< RUN_MAX_DATAGRAMS and",
        "<= RUN_MAX_DATAGRAMS and",
    ),
    Mutant("cut: the segments' room", "outbound", "send/segment.pyx", "+ last_wire > out_room", "> out_room"),
    Mutant(
        "cut: a payload from one byte on",
        "outbound",
        "send/segment.pyx",
        "+ i * s.gso_size\n",
        "+ i * s.gso_size + 1\n",
    ),
    Mutant(
        "plan: a superframe that the next read overwrites",
        "outbound",
        "send/seal.pyx",
        "(WG_HEADER_LEN + frame.frame_len + TAG_LEN + 15)",
        "(frame.frame_len)",
    ),
    Mutant(
        "cut: from the first one on, again",
        "outbound",
        "send/seal.pyx",
        "segment_cut(planned.frame, run, done, n)",
        "segment_cut(planned.frame, run, 0, n)",
    ),
    Mutant(
        "seal: the last one as long as all",
        "outbound",
        "send/seal.pyx",
        "= run.stride if i + 1 < run.count else run.last_wire",
        "= run.stride",
    ),
    Mutant(
        "seal: two peers together",
        "outbound",
        "send/seal.pyx",
        "if (planned.keypair != together.keypair\n                or planned",
        "if (together.keypair == NULL\n                or planned",
    ),
    Mutant(
        "seal: a counter twice",
        "outbound",
        "send/seal.pyx",
        "        counter += planned.run.count",
        "        counter += planned.run.count - 1",
    ),
    Mutant(
        "staged: bytes that stay",
        "outbound",
        "state/staged.pyx",
        "give_back(dp, staged.len)",
        "give_back(dp, staged.len - 1)",
    ),
    Mutant(
        "send: a datagram that is not counted",
        "outbound",
        "udp/send.pyx",
        "(out.len + out.stride - 1) //",
        "out.len //",
    ),
    Mutant(
        "send: single ones overlap",
        "outbound",
        "udp/send.pyx",
        "len = n * out.stride if",
        "len = n * out.stride - 1 if",
    ),
    Mutant("unreachable: one byte more", "outbound", "send/unreachable.pyx", "+ ip.len, room)", "+ ip.len, room + 1)"),
    Mutant(
        "classify: the shortest message",
        "inbound",
        "receive/receive.pyx",
        "len < TRANSPORT_MIN_LEN",
        "len <= TRANSPORT_MIN_LEN",
    ),
    Mutant("replay: the window's edge", "inbound", "state/replay.pxd", "> REPLAY_WINDOW:", "> REPLAY_WINDOW + 1:"),
    Mutant("open: a batch's room", "inbound", "receive/open.pxd", "_count < DATAGRAMS_MAX", "_count <= DATAGRAMS_MAX"),
    Mutant(
        "open: one byte less",
        "inbound",
        "crypto/aead.pyx",
        "lens[i] = wire_lens[i] - WG_HEADER_LEN - TAG_LEN\n    return aead.backend.open",
        "lens[i] = wire_lens[i] - WG_HEADER_LEN - TAG_LEN - (wire_lens[i] > 32)\n    return aead.backend.open",
    ),
    Mutant("deliver: the padding, too", "inbound", "receive/writer.pxd", "ip.len = ip.total_len", "ip.len = ip.len"),
    Mutant("lanes: any fragment", "inbound", "receive/deliver.pyx", "b.together = True", "b.together = False"),
    Mutant(
        "lanes: packets in turn",
        "inbound",
        "receive/deliver.pyx",
        "flow_lane(ip, lanes) if",
        "<int>(at % <uint32_t>lanes) if",
    ),
    Mutant("lanes: the last one alone frees", "reorder", "reorder/reorder.pyx", "= min(least, load", "= (load"),
    Mutant(
        "coalesce: one member too many",
        "inbound",
        "receive/coalesce.pyx",
        "f.count == COALESCE_MAX_MEMBERS",
        "f.count > COALESCE_MAX_MEMBERS",
    ),
    Mutant(
        "coalesce: a longer one",
        "inbound",
        "receive/coalesce.pyx",
        "payload_len > f.gso_size",
        "payload_len > f.gso_size + 1",
    ),
    Mutant("admit: an answer to a session", "inbound", "receive/admit.pyx", "NULL or entry.keypair != NULL:", "NULL:"),
    Mutant(
        "allowed IPs: one bit less", "inbound", "state/allowedips.pxd", "| 1) >= node.cidr", "| 1) >= node.cidr - 1"
    ),
    Mutant(
        "cookies: believed a tick too long",
        "admission",
        "crypto/cookie_mac.pyx",
        "now - macs.born_ns[i] >= COOKIE_SECRET_MAX_AGE",
        "now - macs.born_ns[i] > COOKIE_SECRET_MAX_AGE",
    ),
    Mutant(
        "admit: the forged source pays",
        "admission",
        "receive/admit.pyx",
        "not mac2_holds(&dp.macs",
        "not ratelimiter_take(&a.sources, source, now) or not mac2_holds(&dp.macs",
    ),
    Mutant(
        "kernels: the last of a group",
        "aead",
        "crypto/chacha20poly1305/chapoly.h",
        "first_counter + (uint64_t)(i + j)",
        "first_counter + (uint64_t)(i + j + (i && j == 15))",
    ),
    Mutant(
        "allowed IPs: of another owner",
        "allowedips",
        "state/allowedips.pyx",
        "or node.owner != owner:",
        "or node.owner == NULL:",
    ),
    Mutant(
        "allowed IPs: a fork that stays",
        "allowedips",
        "state/allowedips.pyx",
        "    if parent_link != NULL:\n        drop_if_idle(table, parent_link)\n",
        "",
    ),
    Mutant("coalesce: the urgent pointer", "coalesce", "receive/merge_rules.pxd", " and tcp.urgent == head.urgent", ""),
    Mutant(
        "coalesce: a refused tunnel's headers",
        "coalesce",
        "receive/coalesce.pyx",
        "memcpy(f.head, c.head_was, f.header_len)",
        "memcpy(f.head, c.head_was, f.header_len - 20)",
    ),
    Mutant(
        "write: a refused tunnel's last packet",
        "inbound",
        "receive/writer.pyx",
        "    while member >= 0:\n        member = coalesce_member",
        "    while w.coalescer.members[member].next >= 0:\n        member = coalesce_member",
    ),
    Mutant(
        "coalesce: any tunnel",
        "inbound",
        "receive/coalesce.pyx",
        "return tunnel_end_known(&c.tunnels, p.ip.destination, p.ip.address_len, udp.destination_port)",
        "return True",
    ),
    Mutant(
        "cut: a tunnel's length",
        "outbound",
        "send/segment.pyx",
        "    udp.len = htons(packet_len - s.outer_l4)\n",
        "",
    ),
    Mutant(
        "staged: the ceiling",
        "queues",
        "state/staged.pyx",
        "packet_len) <= dp.shared.staged_max",
        "packet_len) < dp.shared.staged_max",
    ),
    Mutant(
        "routing loop: a second, and no more",
        "routing_loop",
        "send/routing_loop.pyx",
        "through_seen_ns) > SECOND_NS",
        "through_seen_ns) >= SECOND_NS",
    ),
    Mutant("cut: CWR on each", "segment", "send/segment.pyx", "flags &= ~<uint8_t>TCP_CWR", "pass"),
    Mutant(
        "indices: a gap that stays",
        "tables",
        "state/index_table.pyx",
        "table.mask) >= ((i",
        "table.mask) > ((i",
    ),
    Mutant("unreachable: a redirect", "unreachable", "send/unreachable.pyx", " and kind != REDIRECT6", ""),
    Mutant(
        "events: the last one forgotten",
        "queues",
        "state/events.pyx",
        "        queue.last = peer.before_with_events\n",
        "",
    ),
    Mutant(
        "reorder: nobody told of room",
        "reorder",
        "reorder/reorder.pyx",
        "<= <uint64_t>p.slots // 2",
        "< <uint64_t>p.slots // 2",
    ),
    Mutant("cut: one byte of room", "segment", "send/segment.pyx", "last_wire > out_room", "last_wire > out_room + 1"),
    Mutant(
        "keys: one that is left",
        "life",
        "crypto/secret.pyx",
        "    OPENSSL_cleanse(slot, SECRET_SLOT_LEN)\n    lock_arenas()",
        "    lock_arenas()",
    ),
    Mutant(
        "send: the last one again",
        "life",
        "udp/send.pyx",
        "            sender.sent += done\n        elif linux.errno == EAGAIN:\n            return False",
        "            sender.sent += done - (done > 1)\n        elif linux.errno == EAGAIN:\n            return False",
    ),
    # What two shards alone show.
    Mutant(
        "shards: one that is never freed",
        "life",
        "threads/threads.pyx",
        "        free(threads)\n        threads = next",
        "        free(threads)\n        threads = NULL",
    ),
    Mutant(
        "shards: the first alone is held",
        "life",
        "threads/threads.pyx",
        "        receive_path_hold(threads.receive_path)\n        threads = threads.next",
        "        receive_path_hold(threads.receive_path)\n        threads = NULL",
    ),
    Mutant(
        "shards: half a renewal",
        "life",
        "threads/threads.pyx",
        "                delivery_forget_prepared(&threads.receive_path.delivery)\n",
        "",
    ),
    Mutant(
        "shards: a counter twice",
        "outbound",
        "send/seal.pyx",
        "store64(&keypair.next_counter, counter)",
        "store64(&keypair.next_counter, counter - <uint64_t>dp.number)",
    ),
    Mutant(
        "strays: admitted where they come", "inbound", "receive/receive.pyx", "elif e.dp.number != 0:", "elif False:"
    ),
    Mutant("strays: taken twice", "inbound", "state/strays.pyx", "    strays.count = 0\n    store8", "    store8"),
    Mutant("parse: an extension's end", "ip", "wire/ip.pxd", "+ EXTENSION_LEN > ip", "+ EXTENSION_LEN > 1 + ip"),
)


def mutated(mutant: Mutant, whole: Build) -> Build:
    """A copy of a build, of which little has to be built anew."""
    build = replace(whole, name=f"mutants-{whole.name}")
    if not build.directory.is_dir():
        whole.build()
        shutil.copytree(whole.directory, build.directory)
    path = f"pywg/dataplane/{mutant.path}"
    note = build.directory / _TOUCHED
    # The last mutant's file is written again, too: it is newer then than what was built from it.
    before = note.read_text().split() if note.exists() else []
    note.write_text(path)
    build = replace(build, patched={name: (ROOT / name).read_text() for name in before} | {path: mutant.text()})
    build.build()
    return build


def find(mutant: Mutant, whole: Build) -> Done:
    """What the target comes to, in the time that the tests give it."""
    build = mutated(mutant, whole)
    cheap = CHEAP_SHARE if mutant.target in WITH_CHEAP else 0.0
    turns = {aeads(mutant.target)[0]: 1 - cheap, **({CHEAP: cheap} if cheap else {})}
    executions, cpu_seconds = 0, 0.0
    for backend, share in reversed(turns.items()):
        with tempfile.TemporaryDirectory() as found:
            seconds = SECONDS * share
            done = fuzz(build, mutant.target, seconds=seconds, backends=[backend], apart=Path(found))
        executions += done.executions
        cpu_seconds += done.cpu_seconds
        if done.failure is not None:
            break
    return replace(done, executions=executions, cpu_seconds=cpu_seconds)


def main(arguments: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.native.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="MUTANT", help="; ".join(mutant.name for mutant in MUTANTS))
    parser.add_argument("--fast", action="store_true", help="without ASan and UBSan")
    given = parser.parse_args(arguments)
    missed = 0
    for mutant in MUTANTS:
        if given.names and not any(mutant.name.startswith(name) for name in given.names):
            continue
        done = find(mutant, FAST if given.fast else CHECKED)
        missed += done.failure is None
        found = f"found after {done.executions} executions, {done.cpu_seconds:.1f} s" if done.failure else "NOT FOUND"
        print(f"{mutant.name:40} {mutant.target:10} {found}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
