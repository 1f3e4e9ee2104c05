"""The lists of hits that a server keeps."""

from __future__ import annotations

import pytest

from vtg_cli.serve import hit_lists
from vtg_cli.serve.hit_lists import HitList, HitLists, NotKept
from vtg_cli.serve.wanted import Wanted


def test_the_last_ones_that_fit_are_kept(monkeypatch):
    monkeypatch.setattr(hit_lists, "_MOST_BYTES", 1000)
    lists = HitLists()
    cursors = []
    for size in (600, 300, 100):
        hits = HitList(Wanted("a cat"))
        hits.grounded.size_bytes = size
        cursors.append(lists.keep(hits, 0))
    kept = lists.find(cursors[0])[0]
    assert lists.keep(kept, 0) == cursors[0]
    assert lists.find(cursors[1])[0] is not kept
    kept.grounded.size_bytes = 900
    lists.keep(kept, 0)
    with pytest.raises(NotKept, match="search again"):
        lists.find(cursors[1])
    assert lists.find(cursors[0]) == (kept, 0)
    assert lists.find(cursors[2])[1] == 0
    kept.grounded.size_bytes = 1001
    lists.keep(kept, 0)
    for cursor in cursors:
        with pytest.raises(NotKept):
            lists.find(cursor)


def test_old_ones_are_dropped(monkeypatch):
    now_s = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    lists = HitLists()
    cursor = lists.keep(HitList(Wanted("a cat")), 0)
    now_s += hit_lists._KEPT_S - 1
    lists.keep(lists.find(cursor)[0], 0)
    now_s += hit_lists._KEPT_S - 1
    assert lists.find(cursor)[1] == 0
    now_s += 2
    with pytest.raises(NotKept):
        lists.find(cursor)
