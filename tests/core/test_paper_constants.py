"""The code's constants, where the data plane has them and where Python has, against the paper's (tests/paper.py)."""

import ast
import inspect

import pytest

from pywg import constants
from pywg.core import messages
from pywg.dataplane.wire import limits
from tests import paper

pytestmark = pytest.mark.dropin("17")

NAMES = sorted(name for name, value in vars(paper).items() if name.isupper() and not isinstance(value, tuple))


@pytest.mark.parametrize("name", NAMES)
def test_numbers_and_labels(name: str) -> None:
    expected = getattr(paper, name)
    if isinstance(expected, str):
        expected = expected.encode()
    found = [getattr(home, name) for home in (limits, constants) if hasattr(home, name)]
    assert found, "neither has it"
    assert found == [expected] * len(found)


def test_messages() -> None:
    for home in (limits, constants):
        assert (home.MESSAGE_INITIATION, home.INITIATION_LEN) == paper.INITIATION
        assert (home.MESSAGE_RESPONSE, home.RESPONSE_LEN) == paper.RESPONSE
        assert (home.MESSAGE_COOKIE_REPLY, home.COOKIE_REPLY_LEN) == paper.COOKIE_REPLY
    assert (limits.MESSAGE_TRANSPORT, limits.WG_HEADER_LEN) == paper.TRANSPORT
    kinds = dict((paper.INITIATION, paper.RESPONSE, paper.COOKIE_REPLY))
    assert kinds == messages.MESSAGE_LEN


def test_attempts_fill_the_attempt_time() -> None:
    assert constants.MAX_HANDSHAKE_ATTEMPTS * paper.REKEY_TIMEOUT == paper.REKEY_ATTEMPT_TIME


def test_what_both_have_is_typed_once() -> None:
    """What the data plane has as well, Python takes from there, under the same name."""
    taken: set[str] = set()
    typed: set[str] = set()
    for node in ast.parse(inspect.getsource(constants)).body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            name = ast.unparse(node.target)
            (taken if ast.unparse(node.value) == f"limits.{name}" else typed).add(name)
    assert taken >= {"REJECT_AFTER_TIME", "KEY_LEN", "MAC_LEN"}
    assert typed >= {"CONSTRUCTION", "REKEY_ATTEMPT_TIME"}
    assert typed & vars(limits).keys() == set()
