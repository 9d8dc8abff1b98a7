"""Which endpoint a peer is given, on a clock of the test's own, with name servers that are asked by it."""

from pywg.config.model import SockAddr
from pywg.manage.companion.failover import DOWN_TTL_S, FAILED_TTL_S, LEAST_TTL_S, SETTLE_S, TRIES_S, Failover
from pywg.manage.companion.settings import PeerSetting

KEY, OTHER = bytes([1]) * 32, bytes([2]) * 32


def ip(last: int) -> bytes:
    return bytes([192, 0, 2, last])


def at(last: int, port: int = 7000) -> SockAddr:
    return ip(last), port, 0


def numeric(host: str) -> SockAddr | None:
    return (ip(int(host.rpartition(".")[2])), 1, 0) if host.startswith("192.") else None


class World:
    """Peers with these endpoints: a number is an address, a word a name."""

    def __init__(self, *endpoints: int | str, failback: float = 0) -> None:
        self.now = 1000.0
        self.moves: list[SockAddr] = []
        self.asked: list[str] = []
        hosts = [f"192.0.2.{one}" if isinstance(one, int) else one for one in endpoints]
        peer = PeerSetting(KEY, "", [(host, 7000) for host in hosts])
        self.tried: list[SockAddr] = []
        self.failover = Failover(
            [peer], numeric=numeric, move=self.move, probe=self.probe, ask=self.asked.append, failback_s=failback
        )

    def move(self, key: bytes, endpoint: SockAddr) -> bool:
        assert key == KEY
        self.moves.append(endpoint)
        return True

    def probe(self, key: bytes, endpoint: SockAddr) -> None:
        assert key == KEY
        self.tried.append(endpoint)

    def begin(self, *there: SockAddr) -> None:
        self.failover.begin(dict.fromkeys([KEY], *there) if there else {}, self.now)

    def unanswered(self, after: float = SETTLE_S) -> None:
        self.now += after
        self.failover.unanswered(KEY, self.now)

    def answer(self, host: str, *last: int, ttl: float = 3600) -> None:
        assert host in self.asked
        self.asked.remove(host)
        self.failover.answered(host, [ip(one) for one in last], ttl, self.now)

    def pass_(self, seconds: float) -> float:
        self.now += seconds
        return self.failover.due(self.now)


def test_endpoints_are_tried_in_turn_round_and_round() -> None:
    world = World(1, 2, 3)
    world.begin(at(1))
    for _ in range(6):
        world.unanswered()
    assert world.moves == [at(2), at(3), at(1), at(2), at(3), at(1)]


def test_one_has_time_to_answer() -> None:
    world = World(1, 2)
    world.begin(at(1))
    world.unanswered()
    world.unanswered(SETTLE_S - 0.1)
    assert world.moves == [at(2)]
    world.unanswered(0.2)
    assert world.moves == [at(2), at(1)]


def test_all_are_tried_although_the_daemon_tells_ever_more_rarely() -> None:
    world = World(1, 2, 3)
    world.begin(at(1))
    world.unanswered()
    for _ in range(3):
        assert world.pass_(SETTLE_S - 0.1) == world.now + 0.1
        world.pass_(0.1)
    assert world.moves == [at(2), at(3), at(1), at(2)]
    world.failover.answers(KEY)
    assert world.pass_(SETTLE_S) == float("inf")
    world.unanswered()
    for _ in range(100):
        world.pass_(SETTLE_S)
    assert len(world.moves) == 5 + TRIES_S // SETTLE_S, "nothing is tried any more, and so nothing can answer"


def test_one_alone_stays() -> None:
    world = World(1)
    world.begin(at(1))
    for _ in range(3):
        world.unanswered()
    assert world.moves == []


def test_one_that_answers_stays_and_nothing_goes_back() -> None:
    world = World(1, 2)
    world.begin(at(1))
    world.unanswered()
    world.failover.answers(KEY)
    assert world.pass_(100000) == float("inf")
    assert world.moves == [at(2)]


def test_a_name_is_asked_for_and_its_new_address_comes_before_the_next_endpoint() -> None:
    world = World("gw", 9)
    world.begin(at(1))
    world.pass_(0)
    world.answer("gw", 1)
    world.unanswered(10)
    assert (world.asked, world.moves) == (["gw"], [])  # it is asked first
    world.answer("gw", 2)
    assert world.moves == [at(2)]
    world.unanswered(10)
    world.answer("gw", 2)
    assert world.moves == [at(2), at(9)]
    world.unanswered(10)
    world.answer("gw", 3)
    assert world.moves == [at(2), at(9), at(3)]


def test_all_addresses_of_a_name_are_tried_before_the_next_endpoint() -> None:
    world = World("gw", 9)
    world.begin(at(1))
    world.pass_(0)
    world.answer("gw", 1, 2)
    for _ in range(3):
        world.unanswered(10)
        world.answer("gw", 1, 2)
    assert world.moves == [at(2), at(9), at(1)]


def test_a_name_that_is_not_answered_keeps_nobody_from_the_next() -> None:
    world = World("gw", 9)
    world.begin(at(1))
    world.pass_(0)
    world.answer("gw", 1)
    world.unanswered(10)
    world.answer("gw")
    assert world.moves == [at(9)]


def test_no_name_is_asked_for_twice_at_a_time() -> None:
    world = World("gw")
    world.begin(at(1))
    world.pass_(0)
    for _ in range(5):
        world.unanswered(10)
        world.pass_(10)
    assert world.asked == ["gw"]


def test_a_name_is_asked_for_when_its_time_is_over_and_followed() -> None:
    world = World("gw")
    world.begin(at(1))
    world.pass_(0)
    world.answer("gw", 1, ttl=60)
    assert world.pass_(0) == world.now + 60
    world.pass_(59)
    assert world.asked == []
    world.pass_(2)
    world.answer("gw", 2, ttl=60)
    assert world.moves == [at(2)]
    world.pass_(61)
    world.answer("gw", 3, 2)  # another order of the same is no move
    assert world.moves == [at(2)]


def test_the_name_of_a_peer_that_does_not_answer_is_asked_for_more_often() -> None:
    world = World("gw")
    world.begin(at(1))
    world.pass_(0)
    world.answer("gw", 1)
    assert world.pass_(0) == world.now + 3600
    world.unanswered(10)
    world.answer("gw", 1)
    assert world.pass_(0) == world.now + DOWN_TTL_S
    world.pass_(DOWN_TTL_S)
    world.answer("gw", 2)
    assert world.moves == [at(2)]
    world.failover.answers(KEY)
    assert world.pass_(0) == world.now + 3600


def test_times_have_bounds() -> None:
    world = World("gw")
    world.begin(at(1))
    world.pass_(0)
    world.answer("gw", 1, ttl=0)
    assert world.pass_(0) == world.now + LEAST_TTL_S
    world.pass_(LEAST_TTL_S)
    world.answer("gw")
    assert world.pass_(0) == world.now + FAILED_TTL_S
    assert world.moves == []


def test_a_peer_that_has_moved_by_itself_is_left_there_until_it_does_not_answer() -> None:
    world = World("gw")
    world.begin(at(1))
    world.pass_(0)
    world.answer("gw", 1, ttl=60)
    world.failover.moved(KEY, at(77, 5))
    world.pass_(61)
    world.answer("gw", 2, ttl=60)
    assert world.moves == []
    world.unanswered(10)
    assert world.asked == ["gw"]
    world.answer("gw", 2)
    assert world.moves == [at(2)]


def test_a_daemon_that_does_not_take_it_is_asked_again() -> None:
    world = World(1, 2)
    world.begin(at(1))
    taken, world.failover._move = world.failover._move, lambda key, endpoint: False
    world.unanswered()
    world.failover._move = taken
    world.unanswered()
    assert len(world.moves) == 1


def test_other_peers_and_other_names_are_no_matter() -> None:
    world = World(1, 2)
    world.failover.begin({KEY: at(1), OTHER: at(1)}, world.now)
    world.failover.unanswered(OTHER, world.now)
    world.failover.answered("another", [ip(5)], 60, world.now)
    world.failover.answered("192.0.2.1", [ip(5)], 60, world.now)
    assert world.moves == []


def test_one_without_an_endpoint_gets_the_first_that_has_an_address() -> None:
    world = World("gw", 9)
    world.begin()
    assert (world.asked, world.moves) == (["gw"], [])  # it is asked first
    world.answer("gw", 1)
    assert world.moves == [at(1)]
    world = World("gw", 9)
    world.begin()
    world.answer("gw")
    assert world.moves == [at(9)]
    world.pass_(FAILED_TTL_S)
    world.answer("gw", 1)
    assert world.moves == [at(9)], "one that answers stays"


def test_the_name_of_one_without_an_endpoint_is_asked_for_often() -> None:
    world = World("gw")
    world.begin()
    for _ in range(3):
        world.answer("gw")
        assert world.pass_(0) == world.now + DOWN_TTL_S
        world.pass_(DOWN_TTL_S)
    world.answer("gw", 1)
    assert world.moves == [at(1)]


def test_no_name_is_asked_for_before_it_is_known_where_peers_are() -> None:
    """A companion that begins anew leaves a peer at its second endpoint."""
    world = World("gw", 9)
    assert world.pass_(0) == float("inf")
    world.begin(at(9))
    world.pass_(0)
    world.answer("gw", 1)
    assert world.moves == []


def test_a_daemon_that_begins_anew_is_told_the_endpoint_that_was_in_use() -> None:
    world = World(1, 2)
    world.begin(at(1))
    world.unanswered()
    world.begin()
    assert world.moves == [at(2), at(2)]


def test_an_earlier_endpoint_is_tried_again_and_again_and_the_peer_stays() -> None:
    world = World(1, 2, 3, failback=60)
    world.begin(at(1))
    assert world.pass_(100) == float("inf"), "there is none before the first"
    world.unanswered()
    world.unanswered()
    world.failover.answers(KEY)
    assert world.moves == [at(2), at(3)]
    assert world.pass_(59) == world.now + 1
    assert world.tried == []
    for _ in range(3):
        world.pass_(60)
    assert (world.tried, len(world.moves)) == ([at(1), at(2), at(1)], 2)
    world.failover.moved(KEY, at(1))
    world.failover.answers(KEY)
    assert world.pass_(1000) == float("inf")
    assert (len(world.tried), len(world.moves)) == (3, 2)


def test_none_is_tried_of_a_peer_that_is_down_or_elsewhere() -> None:
    world = World(1, 2, failback=60)
    world.begin(at(2))
    world.failover.unanswered(KEY, world.now)
    world.failover.moved(KEY, at(2))
    world.pass_(SETTLE_S - 1)
    assert world.tried == []
    world = World(1, 2, failback=60)
    world.begin(at(2))
    world.failover.moved(KEY, at(77, 5))
    world.pass_(61)
    assert world.tried == []
    world.failover.moved(KEY, at(2))
    world.pass_(61)
    assert world.tried == [at(1)]
