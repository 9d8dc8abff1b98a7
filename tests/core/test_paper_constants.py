"""The code's constants against the paper's, which tests/paper.py has typed again."""

import pytest

from pywg import constants
from pywg.core import messages
from tests import paper

pytestmark = pytest.mark.dropin("17")

SAME_NAME = sorted(
    name
    for name in vars(paper)
    if name.isupper() and name not in {"CONSTRUCTION", "IDENTIFIER", "LABEL_MAC1", "LABEL_COOKIE"}
    if not isinstance(getattr(paper, name), tuple)
)


@pytest.mark.parametrize("name", SAME_NAME)
def test_numbers(name: str) -> None:
    assert getattr(constants, name) == getattr(paper, name)


@pytest.mark.parametrize("name", ["CONSTRUCTION", "IDENTIFIER", "LABEL_MAC1", "LABEL_COOKIE"])
def test_labels(name: str) -> None:
    assert getattr(constants, name) == getattr(paper, name).encode()


def test_messages() -> None:
    assert (messages.HANDSHAKE_INITIATION, messages.INITIATION_LEN) == paper.INITIATION
    assert (messages.HANDSHAKE_RESPONSE, messages.RESPONSE_LEN) == paper.RESPONSE
    assert (messages.COOKIE_REPLY, messages.COOKIE_REPLY_LEN) == paper.COOKIE_REPLY
    assert (messages.TRANSPORT_DATA, messages.TRANSPORT_HEADER_LEN) == paper.TRANSPORT


def test_attempts_fill_the_attempt_time() -> None:
    assert constants.MAX_HANDSHAKE_ATTEMPTS * paper.REKEY_TIMEOUT == paper.REKEY_ATTEMPT_TIME
