"""Each round of the tunnel bench has its own order, and each contender is in it once."""

from bench.tunnel.bench import CONTENDERS, _order


def test_a_round_has_every_contender_once() -> None:
    assert all(sorted(_order(CONTENDERS, number)) == sorted(CONTENDERS) for number in range(1, 9))


def test_a_round_that_is_resumed_has_the_order_that_it_had() -> None:
    assert _order(CONTENDERS, 3) == _order(CONTENDERS, 3)


def test_no_contender_always_follows_the_same() -> None:
    before_ours = {order[order.index("pywg") - 1] for order in (_order(CONTENDERS, number) for number in range(1, 9))}
    assert len(before_ours) > 3
