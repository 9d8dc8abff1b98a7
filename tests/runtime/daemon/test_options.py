"""The environment and the command line. dropin: 2, 3."""

from pathlib import Path

import pytest

from pywg._fastpath import Plane
from pywg.errors import ConfigError
from pywg.runtime.base.accounts import Account, Owner
from pywg.runtime.base.log import Form, Level
from pywg.runtime.daemon.options import Given, read_options


@pytest.mark.dropin("2")
def test_defaults() -> None:
    options = read_options("wg0", {})
    assert options.interface == "wg0"
    assert not options.foreground
    assert options.log_level is Level.ERROR
    assert not options.keep_output
    assert (options.tun_fd, options.uapi_fd) == (None, None)
    assert (options.udp_gso, options.udp_gro, options.tun_offload) == (True, True, True)
    assert options.vxlan_offload
    assert options.sandbox
    assert options.log_form is Form.TEXT


@pytest.mark.dropin("2", "3")
@pytest.mark.known_bug("No knob")
def test_environment() -> None:
    options = read_options(
        "wg0",
        {
            "LOG_LEVEL": "verbose",
            "WG_TUN_FD": "3",
            "WG_UAPI_FD": "4",
            "WG_PROCESS_FOREGROUND": "1",
            "PYWG_UDP_GSO": "0",
            "PYWG_UDP_GRO": "1",
            "PYWG_TUN_OFFLOAD": "0",
            "PYWG_VXLAN_OFFLOAD": "0",
            "PYWG_SANDBOX": "0",
            "PYWG_LOG_FORMAT": "json",
        },
    )
    assert options.log_level is Level.DEBUG
    assert options.keep_output
    assert (options.tun_fd, options.uapi_fd, options.foreground) == (3, 4, True)
    assert (options.udp_gso, options.udp_gro, options.tun_offload) == (False, True, False)
    assert not options.vxlan_offload
    assert not options.sandbox
    assert options.log_form is Form.JSON


def test_what_a_later_daemon_gets_has_one_order() -> None:
    environ = {"PYWG_THREADS": "4", "LOG_LEVEL": "debug", "HOME": "/root"}
    options = read_options("wg0", environ)
    assert options == read_options("wg0", dict(reversed(environ.items())))
    assert options.environment == (("LOG_LEVEL", "debug"), ("PYWG_THREADS", "4"))


def test_verbose_is_the_debug_level() -> None:
    options = read_options("wg0", {"LOG_LEVEL": "silent"}, verbose=True)
    assert (options.log_level, options.keep_output) == (Level.DEBUG, True)


@pytest.mark.parametrize("given", [Given(log_file="pywg.log"), Given(log_file="pywg.log", verbose=True)])
def test_a_log_file_is_the_only_output(given: Given) -> None:
    """Its name is that of the folder where the operator was: the daemon in the background is in another."""
    options = read_options("wg0", {"PYWG_LOG_FILE": "/other", "LOG_LEVEL": "info"}, **given)
    assert options.log_file == str(Path("pywg.log").absolute())
    assert not options.keep_output
    assert read_options("wg0", {"PYWG_LOG_FILE": "/other"}).log_file == "/other"
    assert read_options("wg0", {}).log_file == ""


def test_command_line_wins() -> None:
    options = read_options(
        "wg0", {"PYWG_UDP_GSO": "0", "PYWG_UDP_GRO": "1"}, foreground=True, udp_gso=True, udp_gro=False
    )
    assert (options.foreground, options.udp_gso, options.udp_gro) == (True, True, False)


def test_equal_tail_is_left_to_the_kernel_unless_said() -> None:
    assert read_options("wg0", {}).udp_gso_equal_tail is None
    for text, on in (("0", False), ("1", True)):
        assert read_options("wg0", {"PYWG_UDP_GSO_EQUAL_TAIL": text}).udp_gso_equal_tail is on
        assert (
            read_options("wg0", {"PYWG_UDP_GSO_EQUAL_TAIL": text}, udp_gso_equal_tail=not on).udp_gso_equal_tail
            is not on
        )


@pytest.mark.dropin("3")
def test_only_1_means_foreground() -> None:
    assert not read_options("wg0", {"WG_PROCESS_FOREGROUND": "0"}).foreground


@pytest.mark.dropin("2")
@pytest.mark.parametrize("word", ["warn", "trace", "0", "WARN", "notice", "fatal", "7"])
def test_other_loggers_words_for_levels_are_understood(word: str) -> None:
    assert not read_options("wg0", {"LOG_LEVEL": word}).remarks


@pytest.mark.dropin("2")
@pytest.mark.parametrize("word", ["loud", "pywg=debug", "8", " "])
def test_a_level_that_is_none_is_the_default_and_a_remark(word: str) -> None:
    options = read_options("wg0", {"LOG_LEVEL": word})
    assert options.log_level is Level.ERROR
    (remark,) = options.remarks
    assert f"LOG_LEVEL={word!r}" in remark


@pytest.mark.parametrize(
    "name",
    [
        *("LOG_LEVEL", "WG_TUN_FD", "WG_UAPI_FD", "WG_PROCESS_FOREGROUND", "PYWG_LOG_FORMAT", "PYWG_AEAD"),
        *("PYWG_UDP_GSO", "PYWG_UDP_GSO_EQUAL_TAIL", "PYWG_UDP_GRO", "PYWG_TUN_OFFLOAD", "PYWG_SANDBOX"),
        *("PYWG_LISTEN_ADDRESS", "PYWG_BIND_DEVICE", "PYWG_THREADS", "PYWG_STAGED_MEMORY", "PYWG_STORE_TUN"),
        *("PYWG_USER", "PYWG_DROP_NET_ADMIN", "PYWG_SOCKET_OWNER", "PYWG_MONITOR_SOCKET"),
        *("PYWG_NAMESPACE_SOCKET", "PYWG_VXLAN_OFFLOAD", "PYWG_TUN_RPS", "PYWG_TURNS", "PYWG_SHARDS"),
        *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDNAMES"),
    ],
)
def test_an_empty_variable_is_none(name: str) -> None:
    assert read_options("wg0", {name: ""}, foreground=True) == read_options("wg0", {}, foreground=True)


def test_silent_closes_the_output_in_the_background() -> None:
    assert not read_options("wg0", {"LOG_LEVEL": "silent"}).keep_output


@pytest.mark.dropin("3")
@pytest.mark.parametrize("name", ["WG_TUN_FD", "WG_UAPI_FD"])
@pytest.mark.parametrize("value", ["-1", "x", "3 ", "٣", "99999999999999"])
def test_a_wrong_descriptor_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        read_options("wg0", {name: value})


@pytest.mark.parametrize(
    "name",
    [
        *("PYWG_UDP_GSO", "PYWG_UDP_GSO_EQUAL_TAIL", "PYWG_UDP_GRO", "PYWG_TUN_OFFLOAD", "PYWG_VXLAN_OFFLOAD"),
        *("PYWG_TUN_RPS", "PYWG_TURNS"),
        *("PYWG_SANDBOX", "PYWG_LOG_FORMAT"),
    ],
)
def test_a_wrong_switch_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}='yes'"):
        read_options("wg0", {name: "yes"})


def test_the_aead_backend_is_named_by_the_environment() -> None:
    assert read_options("wg0", {}).aead == "auto"
    assert read_options("wg0", {"PYWG_AEAD": "evp"}).aead == "evp"


def test_steering_is_asked_for() -> None:
    assert read_options("wg0", {}).tun_rps is False
    assert read_options("wg0", {"PYWG_TUN_RPS": "0"}).tun_rps is False
    assert read_options("wg0", {"PYWG_TUN_RPS": "1"}).tun_rps is True


def test_turns_are_for_threads_with_a_processor_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for processors, threads in ((2, "7"), (6, "7"), (8, "6"), (8, "10")):
        monkeypatch.setattr("pywg.runtime.daemon.options.usable_processors", lambda of=processors: of)
        assert read_options("wg0", {}, threads=threads).turns is False
        assert read_options("wg0", {"PYWG_TURNS": "1"}, threads=threads).turns is True
    monkeypatch.setattr("pywg.runtime.daemon.options.usable_processors", lambda: 8)
    assert read_options("wg0", {}, threads="7").turns is True
    assert read_options("wg0", {"PYWG_TURNS": "0"}, threads="7").turns is False
    assert read_options("wg0", {}, alone=False, threads="7").turns is False
    assert read_options("wg0", {}, threads="7", shards="2").turns is False
    assert read_options("wg0", {"PYWG_TURNS": "1"}, threads="7", shards="2").turns is True


@pytest.mark.parametrize("environ", [{}, {"PYWG_THREADS": ""}, {"PYWG_THREADS": "auto"}])
def test_threads_follow_the_processors(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    monkeypatch.setattr("pywg.runtime.base.processors.usable_processors", lambda: 7)
    assert read_options("wg0", environ).helpers(1) == 5
    assert read_options("wg0", {"PYWG_THREADS": "3"}, threads="auto").helpers(1) == 5


def test_threads_are_given() -> None:
    assert read_options("wg0", {"PYWG_THREADS": "2"}).threads == 2
    assert read_options("wg0", {"PYWG_THREADS": "64"}).threads == 64
    assert read_options("wg0", {"PYWG_THREADS": "2"}, threads="5").threads == 5
    assert read_options("wg0", {"PYWG_THREADS": "x"}, threads="5").threads == 5
    assert read_options("wg0", {}, threads="5").helpers(1) == 3


def test_there_is_one_shard_unless_more_are_asked_for() -> None:
    assert read_options("wg0", {}).shards == 1
    for number in (1, 2, 4, 8):
        assert read_options("wg0", {"PYWG_SHARDS": str(number)}).shards == number
        assert read_options("wg0", {"PYWG_SHARDS": "3"}, shards=str(number)).shards == number


@pytest.mark.parametrize("value", ["0", "3", "5", "16", "-2", "two", "٢", "02", "2 ", "9999999999"])
def test_a_wrong_number_of_shards_is_named(value: str) -> None:
    with pytest.raises(ConfigError, match=f"PYWG_SHARDS='{value}' is none of 1, 2, 4 and 8"):
        read_options("wg0", {"PYWG_SHARDS": value})
    with pytest.raises(ConfigError, match=f"--shards='{value}' is none of 1, 2, 4 and 8"):
        read_options("wg0", {}, shards=value)


def test_shards_share_the_threads() -> None:
    """As many as there are in the end: a TUN of another program may have fewer queues than were asked for."""
    options = read_options("wg0", {}, threads="13", shards="4")
    assert [options.helpers(shards) for shards in (1, 2, 4)] == [11, 4, 1]
    assert read_options("wg0", {}, threads="8", shards="4").helpers(4) == 0


@pytest.mark.parametrize("threads", ["2", "7"])
def test_each_shard_has_two_threads_that_read(threads: str) -> None:
    wrong = f"='{threads}' is too few for 4 shards, two for each: auto, or 8 and more"
    with pytest.raises(ConfigError, match=f"--threads{wrong}"):
        read_options("wg0", {"PYWG_SHARDS": "4"}, threads=threads)
    with pytest.raises(ConfigError, match=f"PYWG_THREADS{wrong}"):
        read_options("wg0", {"PYWG_THREADS": threads}, shards="4")


def test_by_itself_a_shard_has_at_least_its_two(monkeypatch: pytest.MonkeyPatch) -> None:
    options = read_options("wg0", {}, shards="4")
    for processors, helpers in ((2, 0), (7, 0), (12, 1), (40, 8), (128, 8)):
        monkeypatch.setattr("pywg.runtime.base.processors.usable_processors", lambda of=processors: of)
        assert options.helpers(4) == helpers


def test_memory_for_staged_packets() -> None:
    plane = Plane()
    plane.close()
    assert read_options("wg0", {}).staged_bytes == 16 << 20 == plane.memory()["staged_packets"]
    assert read_options("wg0", {"PYWG_STAGED_MEMORY": "1"}).staged_bytes == 1 << 20
    assert read_options("wg0", {"PYWG_STAGED_MEMORY": "x"}, staged_memory="1024").staged_bytes == 1 << 30


@pytest.mark.parametrize("value", ["0", "1025", "-1", "16M", "auto", "٣", "9999999999", " 16"])
def test_a_wrong_amount_of_memory_is_named(value: str) -> None:
    with pytest.raises(ConfigError, match=f"PYWG_STAGED_MEMORY='{value}' is not a number of MiB from 1 to 1024"):
        read_options("wg0", {"PYWG_STAGED_MEMORY": value})
    with pytest.raises(ConfigError, match="--staged-memory="):
        read_options("wg0", {}, staged_memory=value)


@pytest.mark.parametrize("value", ["0", "1", "65", "-2", "two", "٣", "9999999999", "2 "])
def test_a_wrong_number_of_threads_is_named(value: str) -> None:
    with pytest.raises(ConfigError, match="PYWG_THREADS="):
        read_options("wg0", {"PYWG_THREADS": value})
    with pytest.raises(ConfigError, match="--threads="):
        read_options("wg0", {}, threads=value)


def test_what_is_given_up_and_who_may_ask() -> None:
    options = read_options("wg0", {})
    assert (options.user, options.drop_net_admin) == (None, False)
    assert (options.socket_owner, options.monitor_owner) == (Owner(), None)
    environ = {
        "PYWG_USER": "0001:0002",
        "PYWG_DROP_NET_ADMIN": "1",
        "PYWG_SOCKET_OWNER": ":3",
        "PYWG_MONITOR_SOCKET": "4",
    }
    options = read_options("wg0", environ)
    assert options.user == Account(1, 2, "0001:0002")
    assert options.drop_net_admin
    assert (options.socket_owner, options.monitor_owner) == (Owner(gid=3), Owner(gid=4))
    options = read_options("wg0", environ, user="5:6", socket_owner="7:8", monitor_socket="9")
    assert options.user == Account(5, 6, "5:6")
    assert (options.socket_owner, options.monitor_owner) == (Owner(7, 8), Owner(gid=9))


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("--user", {"user": "nosuch"}),
        ("--socket-owner", {"socket_owner": "nosuch"}),
        ("--monitor-socket", {"monitor_socket": "nosuch"}),
    ],
)
def test_an_unknown_account_is_named(option: str, given: Given) -> None:
    with pytest.raises(ConfigError, match=f"{option}='nosuch': there is no (user|group) 'nosuch'"):
        read_options("wg0", {}, **given)
