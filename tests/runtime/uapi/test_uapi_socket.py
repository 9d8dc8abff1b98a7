"""Where the configuration socket lives, and whose it is. dropin: 3, 5, 6."""

import errno
import fcntl
import os
import secrets
import select
import socket
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pywg.errors import DeviceError
from pywg.runtime.base import lock_file
from pywg.runtime.base.accounts import Owner
from pywg.runtime.base.in_use import DIRECTORY, Daemon, daemon_of
from pywg.runtime.uapi import socket as uapi_socket
from pywg.runtime.uapi.socket import UapiSocket, connect, from_fd, open_uapi
from tests.descriptors import own_descriptors
from tests.requirements import require_root, require_tool


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "wireguard")


@pytest.mark.dropin("6")
@pytest.mark.parametrize("given", [0o022, 0o077, 0])
def test_directory_and_socket_have_wireguard_gos_modes(directory: str, given: int) -> None:
    """Whatever the umask, or an operator with 077 would keep the group of the monitoring socket out of the folder."""
    umask = os.umask(given)
    try:
        uapi = open_uapi("wg0", directory=directory)
        assert os.umask(given) == given
    finally:
        os.umask(umask)
    try:
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o755
        assert stat.S_IMODE(os.stat(f"{directory}/wg0.sock").st_mode) == 0o700
        assert not uapi.listener.getblocking()
    finally:
        uapi.close()


@pytest.mark.parametrize("given", [0o077, 0])
def test_the_folders_around_it_too_are_for_root_alone_to_write_in(directory: str, given: int) -> None:
    """Of a namespace's own folder both are made: others could put sockets into one that they may write in."""
    umask = os.umask(given)
    try:
        open_uapi("wg0", directory=f"{directory}/netns-1").close()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o755
    assert stat.S_IMODE(os.stat(f"{directory}/netns-1").st_mode) == 0o755


def test_close_removes_the_file_and_is_idempotent(directory: str) -> None:
    uapi = open_uapi("wg0", directory=directory)
    uapi.close()
    uapi.close()
    assert os.listdir(directory) == []


@pytest.mark.dropin("6")
def test_a_live_socket_is_in_use(directory: str) -> None:
    uapi = open_uapi("wg0", directory=directory)
    try:
        with pytest.raises(DeviceError, match="wg0 is in use") as caught:
            open_uapi("wg0", directory=directory)
        assert caught.value.errno == errno.EADDRINUSE
        connect("wg0", directory=directory).close()
    finally:
        uapi.close()


@pytest.mark.dropin("6")
def test_a_stale_socket_is_taken_over(directory: str) -> None:
    stale = open_uapi("wg0", directory=directory)
    stale.listener.close()
    uapi = open_uapi("wg0", directory=directory)
    try:
        connect("wg0", directory=directory).close()
    finally:
        uapi.close()


def _before_listen(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], times: int = 3) -> list[None]:
    """Has `act` run before each of the first so many calls of listen(2). Returns an item for each call to come."""
    calls: list[None] = []
    listen = socket.socket.listen

    def late(self: socket.socket, backlog: int) -> None:
        calls.append(None)
        if len(calls) <= times:
            act()
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", late)
    return calls


@pytest.mark.dropin("6")
def test_a_socket_that_is_taken_for_stale_before_it_listens_is_made_once_more(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`wg` removes it, and so does another daemon that starts; then nobody could reach this one."""
    path = f"{directory}/wg0.sock"
    calls = _before_listen(monkeypatch, lambda: os.unlink(path))
    uapi = open_uapi("wg0", directory=directory)
    try:
        assert len(calls) == 4
        assert uapi.present()
        connect("wg0", directory=directory).close()
        os.unlink(path)
        assert not uapi.present(), "its removal would not be noticed"
    finally:
        uapi.close()


def test_a_socket_that_is_removed_before_it_has_its_owner_is_made_once_more(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_root()
    path = f"{directory}/wg0.sock"
    chown = os.chown
    removed: list[str] = []

    def late(*arguments: Any, **options: Any) -> None:
        if not removed:
            os.unlink(path)
            removed.append(path)
        chown(*arguments, **options)

    monkeypatch.setattr(os, "chown", late)
    uapi = open_uapi("wg0", directory=directory, owner=Owner(gid=1))
    try:
        connect("wg0", directory=directory).close()
        assert os.stat(path).st_gid == 1
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o770
    finally:
        uapi.close()


def test_a_socket_that_is_always_removed_ends_the_start(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{directory}/wg0.sock"
    before = own_descriptors(settled=True)
    _before_listen(monkeypatch, lambda: os.unlink(path), times=1 << 30)
    with pytest.raises(DeviceError, match=f"{path} was removed 100 times") as caught:
        open_uapi("wg0", directory=directory)
    assert caught.value.errno == errno.EAGAIN
    assert os.listdir(directory) == []
    assert len(own_descriptors()) == len(before)


def test_wg_takes_a_socket_that_does_not_listen_yet_for_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real `wg`: that is what the tests before this one are about."""
    require_root()
    require_tool("wg")
    interface = f"u{secrets.token_hex(4)}"
    path = Path(f"{DIRECTORY}/{interface}.sock")
    seen = []

    def show() -> None:
        seen.append(path.exists())
        subprocess.run(["wg", "show", interface], check=False, capture_output=True)
        seen.append(path.exists())

    _before_listen(monkeypatch, show, times=1)
    uapi = open_uapi(interface)
    try:
        assert seen == [True, False]
        connect(interface, directory=DIRECTORY).close()
    finally:
        uapi.close()


def test_of_two_daemons_that_start_at_a_time_one_has_the_name(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two network namespaces, which share the folder. The second takes the first for one that has crashed, because
    that does not listen yet, and removes its file when it does."""
    made: list[UapiSocket] = []
    errors: list[DeviceError] = []
    waits, first_has_begun = threading.Event(), threading.Event()

    def start() -> None:
        try:
            made.append(open_uapi("wg0", directory=directory))
        except DeviceError as error:
            errors.append(error)
        finally:
            waits.set()

    def lock(path: str, *, wait_s: float) -> int:
        if threading.current_thread() is second:
            waits.set()
        return as_it_is(path, wait_s=wait_s)

    def look(*arguments: Any, **options: Any) -> Daemon | None:
        found = daemon_of(*arguments, **options)
        waits.set()
        first_has_begun.wait(30)
        return found

    def begin() -> None:
        second.start()
        assert waits.wait(30)

    second, as_it_is = threading.Thread(target=start), lock_file.lock
    monkeypatch.setattr(lock_file, "lock", lock)
    monkeypatch.setattr(uapi_socket, "daemon_of", look)
    _before_listen(monkeypatch, begin, times=1)
    start()
    first_has_begun.set()
    second.join()
    try:
        (first,) = made
        connect("wg0", directory=directory).close()
        first.listener.accept()[0].close()
        assert first.present()
    finally:
        for one in made:
            one.close()
    assert [error.errno for error in errors] == [errno.EADDRINUSE]
    assert "wg0 is in use" in str(errors[0])
    assert os.listdir(directory) == []


def test_what_another_program_has_put_in_its_place_is_left_to_that(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As wireguard-go does that finds a socket which does not listen yet."""
    require_root()  # else the kernel does not tell which file is whose
    path = f"{directory}/wg0.sock"

    def replace() -> None:
        os.unlink(path)
        other.bind(path)
        other.listen(1)

    _before_listen(monkeypatch, replace, times=1)
    with socket.socket(socket.AF_UNIX) as other:
        with pytest.raises(DeviceError, match="wg0 is in use") as caught:
            open_uapi("wg0", directory=directory)
        assert caught.value.errno == errno.EADDRINUSE
        assert os.listdir(directory) == ["wg0.sock"]
        connect("wg0", directory=directory).close()


def test_a_file_is_its_own_where_the_kernel_does_not_tell(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ioctl(*_arguments: object) -> int:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    uapi = open_uapi("wg0", directory=directory)
    assert uapi.present()
    uapi.close()
    assert os.listdir(directory) == []


def test_a_start_that_does_not_end_does_not_hold_up_another(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a daemon that was stopped in it."""
    monkeypatch.setattr(uapi_socket, "START_S", 0.02)
    path = f"{directory}/wg0.sock.lock"
    os.mkdir(directory)
    with lock_file.locked(path):
        with pytest.raises(DeviceError, match=f"wg0 is in use: .* has {path} locked; `fuser {path}` shows") as caught:
            open_uapi("wg0", directory=directory)
        assert caught.value.errno == errno.EADDRINUSE
        assert os.listdir(directory) == ["wg0.sock.lock"]
    open_uapi("wg0", directory=directory).close()


def test_the_lock_of_a_daemon_that_was_killed_is_no_obstacle(directory: str) -> None:
    os.mkdir(directory)
    Path(directory, "wg0.sock.lock").touch()
    uapi = open_uapi("wg0", directory=directory)
    assert os.listdir(directory) == ["wg0.sock"]
    uapi.close()


def test_close_leaves_a_successors_file_alone(directory: str) -> None:
    first = open_uapi("wg0", directory=directory)
    os.unlink(f"{directory}/wg0.sock")
    assert not first.present()
    second = open_uapi("wg0", directory=directory)
    first.close()
    assert second.present()
    connect("wg0", directory=directory).close()
    second.close()


@pytest.mark.dropin("5")
@pytest.mark.parametrize("end", ["unlink", "rename", "replace"])
def test_removal_is_noticed(directory: str, end: str) -> None:
    uapi = open_uapi("wg0", directory=directory)
    path = f"{directory}/wg0.sock"
    fd = uapi.watch()
    assert fd is not None
    try:
        assert select.select([fd], [], [], 0)[0] == []
        if end == "unlink":
            os.unlink(path)
        elif end == "rename":
            os.rename(path, path + ".old")
        else:
            with open(path + ".new", "w"):
                os.replace(path + ".new", path)
        assert select.select([fd], [], [], 5)[0] == [fd]
        assert not uapi.present()
    finally:
        os.close(fd)
        uapi.listener.close()


@pytest.mark.dropin("3")
def test_an_inherited_socket_is_taken_over_with_its_file(directory: str) -> None:
    given = open_uapi("wg0", directory=directory)
    uapi = from_fd(os.dup(given.listener.fileno()))
    given.listener.close()
    assert uapi.path == f"{directory}/wg0.sock"
    assert uapi.present()
    connect("wg0", directory=directory).close()
    uapi.close()
    assert os.listdir(directory) == []


def test_a_successors_file_is_not_that_of_an_inherited_socket(directory: str) -> None:
    require_root()
    given = open_uapi("wg0", directory=directory)
    os.unlink(f"{directory}/wg0.sock")
    second = open_uapi("wg0", directory=directory)
    uapi = from_fd(os.dup(given.listener.fileno()))
    assert uapi.path == f"{directory}/wg0.sock"
    assert not uapi.present()
    uapi.close()
    assert second.present()
    second.close()
    given.close()


@pytest.mark.parametrize("is_there", [True, False])
def test_the_folder_of_an_inherited_socket_moves_with_the_root_directory(directory: str, is_there: bool) -> None:
    """Also where its file was removed before: Landlock would find no such folder, and there would be none."""
    given = open_uapi("wg0", directory=directory)
    if not is_there:
        os.unlink(f"{directory}/wg0.sock")
    uapi = from_fd(os.dup(given.listener.fileno()))
    uapi.folder_is(f"{directory}/../wireguard")
    assert uapi.directory == f"{directory}/../wireguard"
    assert uapi.present()
    assert (uapi.file is not None) == is_there
    given.listener.close()
    uapi.close()
    assert os.listdir(directory) == []


def test_an_inherited_descriptor_must_be_a_listening_unix_socket(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="WG_UAPI_FD=987 is not a socket"):
        from_fd(987)
    for sock in (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    ):
        with sock, pytest.raises(DeviceError, match="is not a listening Unix socket"):
            from_fd(sock.fileno())
        assert sock.fileno() == -1
    with open(tmp_path / "file", "w") as file, pytest.raises(DeviceError, match="is not a socket"):
        from_fd(file.fileno())


def test_a_directory_that_cant_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match=r"configuration socket .*/file/wireguard/wg0.sock can't be made"):
        open_uapi("wg0", directory=str(tmp_path / "file" / "wireguard"))


def test_connect_says_that_nobody_answers(directory: str) -> None:
    with pytest.raises(DeviceError, match=f"no daemon answers for wg0: there is no {directory}/wg0.sock"):
        connect("wg0", directory=directory)
    left = open_uapi("wg0", directory=directory)
    left.listener.close()
    with pytest.raises(DeviceError, match=f"no daemon answers for wg0 .*{os.strerror(errno.ECONNREFUSED)}"):
        connect("wg0", directory=directory)


def test_who_may_not_ask_is_told_so(directory: str) -> None:
    """Some daemon does answer there, but not everybody."""
    require_root()
    uapi = open_uapi("wg0", directory=directory)
    said, saying = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setegid(65534)
            os.seteuid(65534)
            connect("wg0", directory=directory)
        except DeviceError as error:
            os.write(saying, str(error).encode())
        finally:
            os._exit(0)
    os.close(saying)
    os.waitpid(child, 0)
    with os.fdopen(said) as text:
        line = text.read()
    uapi.close()
    assert "run this as root" in line
    assert "no daemon" not in line
