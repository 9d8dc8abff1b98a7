"""How many threads "auto" is: by our affinity."""

import os

import pytest

from pywg.runtime.processors import auto_threads, threads_for, usable_processors


@pytest.mark.parametrize(
    ("processors", "threads"), [(1, 2), (2, 2), (3, 2), (4, 4), (5, 5), (10, 10), (11, 10), (128, 10)]
)
def test_threads_follow_the_processors(monkeypatch: pytest.MonkeyPatch, processors: int, threads: int):
    assert threads_for(processors) == threads
    monkeypatch.setattr("pywg.runtime.processors.usable_processors", lambda: processors)
    assert auto_threads() == threads


def test_the_affinity_counts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5, 7})
    assert usable_processors() == 3
