"""How many threads "auto" is: by our affinity, and by the quotas of the cgroups around us."""

import os
from pathlib import Path

import pytest

from pywg.runtime.base.processors import (
    auto_threads,
    helpers_for,
    quota,
    threads_for,
    turns_for,
    usable_processors,
)


@pytest.mark.parametrize(
    ("processors", "threads"), [(1, 2), (2, 2), (3, 2), (4, 4), (5, 5), (10, 10), (11, 10), (128, 10)]
)
def test_threads_follow_the_processors(monkeypatch: pytest.MonkeyPatch, processors: int, threads: int) -> None:
    assert threads_for(processors) == threads
    monkeypatch.setattr("pywg.runtime.base.processors.usable_processors", lambda: processors)
    assert auto_threads() == threads


@pytest.mark.parametrize(
    ("processors", "shards", "threads"), [(1, 2, 4), (6, 4, 8), (12, 2, 12), (21, 2, 20), (40, 8, 40), (128, 8, 80)]
)
def test_each_shard_has_as_many_as_one_would(processors: int, shards: int, threads: int) -> None:
    assert threads_for(processors, shards) == threads


@pytest.mark.parametrize(
    ("threads", "shards", "helpers"), [(2, 1, 0), (9, 1, 7), (4, 2, 0), (5, 2, 0), (6, 2, 1), (2, 8, 0), (64, 8, 6)]
)
def test_helpers_are_shared_out_evenly(threads: int, shards: int, helpers: int) -> None:
    assert helpers_for(threads, shards) == helpers


@pytest.mark.parametrize(
    ("threads", "processors", "turns"),
    [(2, 128, False), (6, 128, False), (7, 6, False), (7, 7, True), (10, 9, False), (10, 10, True), (64, 63, False)],
)
def test_turns_take_a_processor_for_each_thread(threads: int, processors: int, turns: bool) -> None:
    assert turns_for(threads, processors) == turns


@pytest.mark.parametrize("processors", range(1, 7))
def test_few_processors_have_no_turns(processors: int) -> None:
    assert not any(turns_for(threads, processors) for threads in range(2, 65))


@pytest.mark.parametrize(
    ("text", "processors"),
    [
        ("max 100000\n", None),
        ("200000 100000\n", 2.0),
        ("150000 100000\n", 1.5),
        ("5000 100000\n", 0.05),
        ("", None),
        ("200000", None),
        ("200000 0", None),
        (f"{'9' * 5000} 100000", None),
        (f"{'9' * 400} 1", None),
        ("-1 100000", None),
        ("٣ 100000", None),
    ],
)
def test_a_quota_is_read(text: str, processors: float | None) -> None:
    assert quota(text) == processors


def machine(root: Path, cgroup: str, quotas: dict[str, str]) -> tuple[Path, Path]:
    """A /proc/self/cgroup and a /sys/fs/cgroup."""
    own, cgroups = root / "own", root / "cgroups"
    own.write_text(cgroup)
    cgroups.mkdir()
    for place, text in quotas.items():
        (cgroups / place).mkdir(parents=True, exist_ok=True)
        (cgroups / place / "cpu.max").write_text(text)
    return own, cgroups


@pytest.mark.parametrize(
    ("cgroup", "quotas", "processors"),
    [
        ("0::/a/b\n", {"a/b": "max 100000"}, 8),
        ("0::/a/b\n", {"a/b": "400000 100000"}, 4),
        ("0::/a/b\n", {"a/b": "399999 100000"}, 3),
        ("0::/a/b\n", {"a/b": "1000 100000"}, 1),
        ("0::/a/b\n", {"a/b": "6400000 100000"}, 8),
        ("0::/a/b\n", {"a/b": "max 100000", "a": "200000 100000"}, 2),
        ("0::/a/b\n", {"a/b": "300000 100000", "a": "500000 100000"}, 3),
        ("0::/a/b\n", {"a": "500000 100000", "a/c": "200000 100000"}, 5),
        ("0::/\n", {"": "300000 100000"}, 3),
        ("9:cpu:/a\n0::/b\n", {"a": "100000 100000", "b": "200000 100000"}, 2),
        ("9:cpu:/a\n", {"a": "100000 100000"}, 8),
        ("0::/../a\n", {"a": "100000 100000", "": "100000 100000"}, 8),
        ("", {"": "100000 100000"}, 8),
    ],
)
def test_the_smallest_quota_around_us_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cgroup: str, quotas: dict[str, str], processors: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    (tmp_path / "cpu.max").write_text("100000 100000")  # above the mount: nobody's quota
    assert usable_processors(*machine(tmp_path, cgroup, quotas)) == processors


def test_a_machine_without_cgroups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5, 7})
    assert usable_processors(tmp_path / "own", tmp_path / "cgroups") == 3
