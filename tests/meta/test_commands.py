"""Each block of commands in README and the guides has a test that runs it, or is known to have none."""

from pathlib import Path

import pytest

from .commands import PLAYED, ROOT, RUN_BY, Block, assign, blocks, pages, table


@pytest.mark.parametrize("page", sorted({*pages(), *RUN_BY} - PLAYED.keys()))
def test_every_block_has_what_runs_it(page: str) -> None:
    assert assign(blocks(page), RUN_BY.get(page, {}))[1] == []


def test_what_runs_a_block_is_there() -> None:
    files = {file for entries in (*RUN_BY.values(), PLAYED) for file in entries.values() if "/" in file}
    assert [file for file in files if not Path(ROOT, file).is_file()] == []


def test_a_block_without_an_entry_is_found() -> None:
    found = [Block("page", "pywg up wg0"), Block("page", "pywg down wg0")]
    assert assign(found, {"pywg up": "a"})[1] == ["page: pywg down wg0"]
    assert assign(found, {"pywg up": "a", "pywg down": "", "pywg no": "b"})[1] == ["pywg no"]
    assert Block("page", "one \\\n  two\n# remark\n\nthree").commands == 2


def test_most_commands_are_run() -> None:
    total = table().splitlines()[-1].split("|")[2:5]
    by_make_test, by_hand, by_none = map(int, total)
    assert by_none < (by_make_test + by_hand) / 10
