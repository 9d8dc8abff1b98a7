"""The daemon that comes believes nothing of what it is told, and keeps no descriptor of what it refuses."""

import errno
import gc
import mmap
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pywg.cli import run
from pywg.errors import DeviceError
from pywg.runtime.base.accounts import Account
from pywg.runtime.base.libc import CAP_NET_ADMIN, permitted_capabilities
from pywg.runtime.daemon import take_over, witness
from pywg.runtime.daemon.interface import open_log
from pywg.runtime.daemon.options import read_options
from pywg.runtime.daemon.take_over import Taking
from pywg.runtime.daemon.witness import Witness
from pywg.runtime.net.sockets import adopt_sockets
from pywg.runtime.net.tun import adopt_tun
from pywg.runtime.uapi import socket as uapi_socket
from pywg.runtime.uapi.socket import from_other
from tests.runtime.handing_over import EMPTY, Goer, contents, descriptors, goer, hello


@pytest.fixture(scope="module", autouse=True)
def _nothing_of_before() -> None:
    """What other tests have left to the collector would else be closed while one of these counts descriptors."""
    gc.collect()


@pytest.fixture
def one() -> Iterator[Goer]:
    """The daemon that goes. In the end, no descriptor of what it gave may be left."""
    before = descriptors()
    with goer() as made:
        yield made
    assert descriptors() == before


def close(taking: Taking) -> None:
    """With what an interface would have taken."""
    for its in taking.interfaces:
        for fd in (*its.queues, its.configuration, its.monitor):
            if fd >= 0:
                os.close(fd)
    taking.close()


def test_what_makes_sense_is_taken(one: Goer) -> None:
    """The positive control of all below."""
    one.say(hello(), [one.parcel, one.any_file(), one.any_file()])
    taking = Taking("wg0")
    assert taking.pid == os.getpid(), "the kernel's word: the facts say 1"
    one.fill(contents(EMPTY))
    one.say(b"W\x03", [one.udp(), one.udp(socket.AF_INET6)])
    ((state, ((fd4, fd6),)),) = taking.states()
    assert state.mtu == EMPTY.mtu
    assert fd4 >= 0
    assert fd6 >= 0
    os.close(fd4)
    os.close(fd6)
    close(taking)


@pytest.mark.parametrize(("queues", "has"), [(1, [3]), (2, [3, 3]), (2, [3]), (8, [1, 2]), (4, [])])
def test_all_queues_and_pairs_are_taken(one: Goer, queues: int, has: list[int]) -> None:
    """A shard may be without sockets, and an interface without any."""
    fds = [one.udp() for _ in range(queues + 1)]  # of files, /dev/null is but one
    one.say(hello(form=2, queues=queues, keeps_flows=queues > 1), [one.parcel, *fds])
    taking = Taking("wg0")
    (its,) = taking.interfaces
    assert same([*its.queues, its.configuration], fds)
    assert its.keeps_flows == (queues > 1)
    one.fill(contents(EMPTY))
    families = [family for which in has for family in (socket.AF_INET, socket.AF_INET6) if which & FAMILIES[family]]
    sockets = [one.udp(family) for family in families]
    one.say(b"W" + bytes([len(has), *has]), sockets)
    ((state, pairs),) = taking.states()
    assert state.mtu == EMPTY.mtu
    assert [(fd4 >= 0) + 2 * (fd6 >= 0) for fd4, fd6 in pairs] == has
    given = [fd for pair in pairs for fd in pair if fd >= 0]
    assert same(given, sockets)
    for fd in given:
        os.close(fd)
    close(taking)


FAMILIES = {socket.AF_INET: 1, socket.AF_INET6: 2}


def same(taken: Sequence[int], given: Sequence[int]) -> bool:
    """Whether they are the same open files, in the same order."""
    return [os.fstat(fd).st_ino for fd in taken] == [os.fstat(fd).st_ino for fd in given]


Say = Callable[[Goer], None]


def _hello(*fds: str, **changed: object) -> Say:
    def say(one: Goer) -> None:
        kinds = {"parcel": lambda: one.parcel, "file": one.any_file}
        one.say(hello(**changed), [kinds[fd]() for fd in fds])  # type: ignore[arg-type]

    return say


HELLOS: dict[str, Say] = {
    "none": _hello(),
    "too few": _hello("parcel", "file"),
    "too many": _hello("parcel", "file", "file", "file"),
    "no monitor": _hello("parcel", "file", "file", monitors=1),
    "no parcel": _hello("file", "file", "file"),
    "another order": _hello("file", "parcel", "file"),
    "no interface": _hello("parcel", count=0),
    "more interfaces than there are": _hello("parcel", "file", "file", count=2),
    "a parcel of no length": _hello("parcel", "file", "file", length=0),
    "a parcel of all memory": _hello("parcel", "file", "file", length=1 << 40),
    "another format": _hello("parcel", "file", "file", form=99),
    "no number of queues": _hello("parcel", "file", "file", form=2),
    "no queue": _hello("parcel", "file", form=2, queues=0),
    "three queues": _hello("parcel", *4 * ["file"], form=2, queues=3),
    "sixteen queues": _hello("parcel", *17 * ["file"], form=2, queues=16),
    "a queue too few": _hello("parcel", *2 * ["file"], form=2, queues=2),
    "a queue too many": _hello("parcel", *4 * ["file"], form=2, queues=2),
    "queues of an older daemon": _hello("parcel", *3 * ["file"], queues=2),
    "a name with a slash": _hello("parcel", "file", "file", names=[b"../x"]),
    "a name for the terminal": _hello("parcel", "file", "file", names=[b"\x1b[2J"]),
    "a long name": _hello("parcel", "file", "file", names=[b"a" * 63]),
    "an empty name": _hello("parcel", "file", "file", names=[b""]),
    "another letter": lambda one: one.say(b"W", [one.parcel]),
    "a refusal of no number that there is": lambda one: one.say(b"errno=-99999999999999999999\n\n"),
    "a refusal for the number of queues": lambda one: one.say(b"errno=7\n\n"),
    "a refusal with descriptors": lambda one: one.say(b"errno=-1\n\n", [one.parcel, one.any_file()]),
    "cut off": lambda one: one.say(hello()[:-1], [one.parcel, one.any_file(), one.any_file()]),
}


@pytest.mark.parametrize("what", HELLOS)
def test_a_hello_that_makes_no_sense_is_refused(one: Goer, what: str) -> None:
    HELLOS[what](one)
    one.said.shutdown(socket.SHUT_WR)
    with pytest.raises(DeviceError):
        Taking("wg0")


def test_descriptors_that_do_not_fit_are_closed(one: Goer, monkeypatch: pytest.MonkeyPatch) -> None:
    """MSG_CTRUNC: some have come, and the others are lost."""
    monkeypatch.setattr(take_over, "_ANCILLARY", socket.CMSG_SPACE(12) + socket.CMSG_SPACE(8))
    one.say(hello(), [one.parcel, one.any_file(), one.any_file()])
    with pytest.raises(DeviceError, match="RLIMIT_NOFILE"):
        Taking("wg0")


def test_a_parcel_is_no_larger_than_goes_with_the_memory_of_the_one_that_goes(
    one: Goer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a byte of it is there, mapped or locked."""
    its = Witness(os.getpid(), 0, 0, filters=0, capabilities=0, memory=1 << 20)
    monkeypatch.setattr(witness, "of_process", lambda _pid: its)
    one.say(hello(length=(4 << 20) + 1), [one.parcel, one.any_file(), one.any_file()])
    with pytest.raises(DeviceError, match=r"\b4194305 bytes"):
        Taking("wg0")
    assert os.fstat(one.parcel).st_size == 0
    assert "memfd:pywg" not in maps()


def test_a_parcel_may_be_as_large_as_goes_with_its_memory(one: Goer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    its = Witness(os.getpid(), 0, 0, filters=0, capabilities=0, memory=1 << 20)
    monkeypatch.setattr(witness, "of_process", lambda _pid: its)
    one.say(hello(length=4 << 20), [one.parcel, one.any_file(), one.any_file()])
    taking = Taking("wg0")
    assert os.fstat(one.parcel).st_size == 4 << 20
    close(taking)


def test_what_is_no_memory_is_not_given_a_length(one: Goer) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"a log")
        file.flush()
        one.say(hello(), [file.fileno(), one.any_file(), one.any_file()])
        with pytest.raises(DeviceError, match="it is no memory"):
            Taking("wg0")
        assert Path(file.name).read_bytes() == b"a log"


ENDS: dict[str, Say] = {
    "nothing": lambda one: None,
    "hung up": lambda one: one.said.close(),
    "too few sockets": lambda one: one.say(b"W\x03", [one.udp()]),
    "too many sockets": lambda one: one.say(b"W\x01", [one.udp(), one.udp()]),
    "no word on them": lambda one: one.say(b"W", [one.udp()]),
    "another letter": lambda one: one.say(b"Y", [one.udp()]),
    "too late": lambda one: one.say(b"errno=-110\n\n"),
}


SHARD_ENDS: dict[str, Say] = {
    "more pairs than queues": lambda one: one.say(b"W\x03\x01\x01\x01", [one.udp() for _ in range(3)]),
    "a pair too few": lambda one: one.say(b"W\x02\x01", [one.udp()]),
    "a pair of no sockets": lambda one: one.say(b"W\x02\x01\x00", [one.udp()]),
    "a pair of other bits": lambda one: one.say(b"W\x02\x01\x04", [one.udp()]),
    "a pair whose socket is missing": lambda one: one.say(b"W\x02\x01\x01", [one.udp()]),
    "a socket of no pair": lambda one: one.say(b"W\x01\x01", [one.udp(), one.udp()]),
    "as an older daemon says it": lambda one: one.say(b"W\x03", [one.udp(), one.udp(socket.AF_INET6)]),
}


@pytest.mark.parametrize("what", [*ENDS, *SHARD_ENDS])
def test_an_end_that_makes_no_sense_is_refused(one: Goer, what: str) -> None:
    if what in ENDS:
        one.say(hello(), [one.parcel, one.any_file(), one.any_file()])
    else:
        one.say(hello(form=2, queues=2), [one.parcel, *(one.any_file() for _ in range(3))])
    taking = Taking("wg0")
    one.fill(contents(EMPTY))
    (ENDS | SHARD_ENDS)[what](one)
    if what != "hung up":
        one.said.shutdown(socket.SHUT_WR)
    with pytest.raises(DeviceError):
        taking.states()
    close(taking)


def hangs_up(one: Goer, *, goes_on: bool) -> str:
    """What is said of one that hangs up between W and Y, because it has died or because it `goes_on`."""
    files = [one.any_file(), one.any_file()]
    one.fill(contents(EMPTY))
    child = os.fork()
    if not child:
        try:
            one.say(hello(), [one.parcel, *files])
            one.say(b"W\0")
            if goes_on:
                while b"R" not in one.said.recv(64):
                    pass
                one.said.close()
                one.asked.close()
            signal.pause()
        finally:
            os._exit(0)
    one.said.close()
    taking = Taking("wg0")
    try:
        assert taking.pid == child
        taking.states()
        if not goes_on:
            os.kill(child, signal.SIGKILL)
        with pytest.raises(DeviceError) as said:
            taking.finish()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        close(taking)
    return str(said.value.strerror)


@pytest.mark.parametrize("goes_on", [False, True])
def test_one_that_dies_before_its_last_word_is_not_said_to_serve_on(
    one: Goer, monkeypatch: pytest.MonkeyPatch, *, goes_on: bool
) -> None:
    if not goes_on:
        monkeypatch.setattr(take_over, "_ENDS_WITHIN_MS", 20_000)
    said = hangs_up(one, goes_on=goes_on)
    assert ("serves on" in said) == goes_on
    assert ("has ended in the middle of the handover: nobody serves wg0 now" in said) == (not goes_on)


def test_nothing_is_said_of_one_whose_process_can_not_be_followed(one: Goer, monkeypatch: pytest.MonkeyPatch) -> None:
    def pidfd_open(_pid: int) -> int:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    assert "see with `pywg status`" in hangs_up(one, goes_on=False)


def maps() -> str:
    return Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("filled", [contents(EMPTY), contents(EMPTY)[:-1], b""], ids=["whole", "cut off", "empty"])
def test_the_parcel_is_wiped_and_given_back(one: Goer, filled: bytes) -> None:
    one.say(hello(length=len(filled) or 4), [one.parcel, one.any_file(), one.any_file()])
    taking = Taking("wg0")
    assert "memfd:pywg" in maps()
    one.fill(filled)
    one.say(b"W\x00")
    try:
        taking.states()
    except DeviceError:
        assert filled != contents(EMPTY)
    assert "memfd:pywg" not in maps()
    assert not any(os.pread(one.parcel, 1 << 16, 0))
    close(taking)


def test_a_parcel_that_nobody_read_is_wiped_too(one: Goer) -> None:
    one.say(hello(), [one.parcel, one.any_file(), one.any_file()])
    taking = Taking("wg0")
    one.fill(b"a key")
    close(taking)
    assert not any(os.pread(one.parcel, 1 << 16, 0))
    assert "memfd:pywg" not in maps()


def test_descriptors_are_asked_what_they_are(one: Goer) -> None:
    stream, blocking, raw = socket.socket(), socket.socket(type=socket.SOCK_DGRAM), one.any_file()
    with stream, blocking:
        for fd4, fd6 in ((stream.fileno(), -1), (blocking.fileno(), -1), (raw, -1), (-1, one.udp()), (one.udp(), raw)):
            with pytest.raises(DeviceError, match="handed over"):
                adopt_sockets([(fd4, fd6)])
        with pytest.raises(DeviceError, match="what was handed over is not a listening Unix socket"):
            from_other(stream.fileno(), "wg0")
    with pytest.raises(DeviceError, match="what was handed over is not a socket"):
        from_other(raw, "wg0")
    with pytest.raises(DeviceError, match="what was handed over is no TUN"):
        adopt_tun([raw], vnet_hdr_len=0, uso=False, tunnels=False)
    adopted = adopt_sockets([(os.dup(one.udp()), -1)])
    adopted.close()


@pytest.mark.parametrize("name", ["wg0", "passwd"])
def test_a_file_elsewhere_than_where_daemons_make_theirs_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What the new daemon removes in the end, and as root, is its own. The maker of a socket may say that it lies
    where another file is."""
    monkeypatch.setattr(uapi_socket, "DIRECTORY", str(tmp_path))
    path = tmp_path / f"{name}.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        adopted = from_other(os.dup(listener.fileno()), "wg0")
    adopted.is_ours()
    assert (adopted.directory, adopted.file is not None) == ((str(tmp_path), True) if name == "wg0" else (None, False))
    adopted.close()
    assert path.exists() == (name != "wg0")


# Options that would give more than the daemon that goes has

NET_ADMIN = 1 << CAP_NET_ADMIN
ROOT = Witness(1, 0, 0, filters=0, capabilities=(1 << 41) - 1, memory=0)
CONFINED = Witness(os.getpid(), 0, 0, filters=1, capabilities=NET_ADMIN, memory=0)


def test_options_may_not_give_back_what_was_given_up() -> None:
    plain = read_options("wg0", {})
    CONFINED.check([plain], ROOT)
    with pytest.raises(DeviceError, match="it has a sandbox, and the next would have none"):
        CONFINED.check([replace(plain, sandbox=False)], ROOT)
    CONFINED._replace(filters=0).check([replace(plain, sandbox=False)], ROOT)
    nobody = Account(65534, 65534, "nobody")
    as_nobody = CONFINED._replace(uid=65534, gid=65534)
    as_nobody.check([replace(plain, user=nobody)], ROOT)
    with pytest.raises(DeviceError, match="would run as user 0, and runs as user 65534"):
        as_nobody.check([plain], ROOT)
    with pytest.raises(DeviceError, match="would run as user 65534, and runs as user 0"):
        CONFINED.check([replace(plain, user=nobody)], ROOT)
    with pytest.raises(DeviceError, match="would run in group 42, and runs in group 65534"):
        as_nobody.check([replace(plain, user=nobody._replace(gid=42))], ROOT)
    without = CONFINED._replace(capabilities=0)
    without.check([replace(plain, drop_net_admin=True)], ROOT)
    without.check([plain], ROOT._replace(capabilities=0))
    with pytest.raises(DeviceError, match="it has no CAP_NET_ADMIN, and the next would have it"):
        without.check([plain], ROOT)


def test_the_log_file_is_one_that_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "wg0.log"
    options = replace(read_options("wg0", {}), log_file=str(path))
    with pytest.raises(DeviceError, match="it doesn't write to"):
        CONFINED.check([options], ROOT)
    with path.open("a"):
        CONFINED.check([options], ROOT)
        for begins in ("w", "wg0.lo", "wg0.log.1"):
            with pytest.raises(DeviceError, match="it doesn't write to"):
                CONFINED.check([replace(options, log_file=str(tmp_path / begins))], ROOT)
        path.rename(tmp_path / "wg0.log-20261127")
        CONFINED.check([options], ROOT)
        (tmp_path / "wg0.log-20261127").rename(tmp_path / "wg0.log.1")
        CONFINED.check([options], ROOT)
        (tmp_path / "wg0.log.1").unlink()
        CONFINED.check([options], ROOT)
        with pytest.raises(DeviceError, match="it doesn't write to"):
            CONFINED.check([options, replace(options, log_file="/etc/ld.so.preload")], ROOT)
    path.touch()
    with path.open(), pytest.raises(DeviceError, match="it doesn't write to"):
        CONFINED.check([options], ROOT)


def test_the_log_file_that_was_looked_at_is_the_one_that_is_opened(one: Goer, tmp_path: Path) -> None:
    """Who may write in its folder puts a link there meanwhile."""
    path, link = tmp_path / "wg0.log", tmp_path / "link"
    link.symlink_to(path)
    one.say(hello(given=b"log_file=" + os.fsencode(link)), [one.parcel, one.any_file(), one.any_file()])
    taking = Taking("wg0")
    (options,) = run._options_of(taking)
    close(taking)
    with path.open("a"):
        CONFINED.check([options], ROOT)
        open_log(options, "wg0", None).close()
    path.unlink()
    path.symlink_to(tmp_path / "another")
    with pytest.raises(DeviceError, match="can't be opened"):
        open_log(options, "wg0", None)
    assert not (tmp_path / "another").exists()


def test_the_kernel_is_asked_who_it_is() -> None:
    found = witness.of_process(os.getpid())
    assert found[:3] == (os.getpid(), os.geteuid(), os.getegid())
    assert found.capabilities == permitted_capabilities()
    held = mmap.mmap(-1, 8 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held.write(bytes(1) * len(held))
    assert witness.of_process(os.getpid()).memory - found.memory >= 7 << 20
    held.close()
    for pid in (0, 1 << 30):
        with pytest.raises(DeviceError, match="can't be seen in /proc") as refused:
            witness.of_process(pid)
        assert refused.value.errno == errno.ESRCH


def test_a_control_group_is_opened_as_a_file_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(take_over, "_CONTROL_GROUPS", str(tmp_path))
    (tmp_path / "unit").mkdir()
    procs = tmp_path / "unit" / "cgroup.procs"
    with pytest.raises(DeviceError, match="can't be joined"):
        take_over.join("/unit")
    assert not procs.exists()
    target = tmp_path / "target"
    target.write_text("stays")
    procs.symlink_to(target)
    with pytest.raises(DeviceError, match="can't be joined"):
        take_over.join("/unit")
    assert target.read_text() == "stays"
    procs.unlink()
    procs.touch()
    take_over.join("/unit")
    assert procs.read_text() == f"{os.getpid()}\n"
