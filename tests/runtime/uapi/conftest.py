"""`talk`: a conversation with a configuration server at a socket of the test's own."""

import asyncio
from pathlib import Path

import pytest

from pywg.runtime.base.log import Log
from tests.runtime.uapi.conversation import Conversation, FakeDevice, Talk, conversation


@pytest.fixture
def talk(tmp_path: Path) -> Talk:
    def run(
        test: Conversation, device: FakeDevice | None = None, log: Log | None = None, errors: tuple[Exception, ...] = ()
    ) -> None:
        asyncio.run(conversation(test, device, log, errors)(str(tmp_path / "s")))

    return run
