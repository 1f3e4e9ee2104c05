"""The catalogue and the vectors agree, whatever step of a change was the last."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from extractors.errors import CacheError
from extractors.features import FeatureSpec
from extractors.files.identity import FileState
from model.search.storage.catalogue import FILE, Catalogue, Entries
from model.search.storage.index import Index, NewVideo
from model.search.vectors.vector_index import VectorIndex

SPEC = FeatureSpec("colour", 8, 1.0)
STATE = FileState(1, 2, 3)


class Killed(BaseException):
    """Stands for the end of the process."""


def video(name: str, count: int = 3, content: str = "") -> NewVideo:
    content = content or name
    rows = np.eye(8, dtype=np.float32)[np.arange(count) % 8]
    return NewVideo(Path("/v", name), STATE, True, content, f"address of {content}", 4.0, {SPEC: rows})


def add(index: Index, *videos: NewVideo) -> None:
    with index.writing() as writer:
        writer.add(videos)


def check(index: Index, expected: set[str]) -> None:
    """Readers see these files, whose vectors are there."""
    index.close()
    snapshot = index.snapshot()
    assert {file.path.name for files in snapshot.files.values() for file in files} == expected
    entries = snapshot.entries_of(SPEC)
    if entries is not None:
        assert set(entries.content_ids.tolist()) == set(snapshot.contents)
        assert not len(np.setdiff1d(entries.ids(), index.vectors(SPEC).ids))


def check_settled(index: Index) -> None:
    """Nothing is left over after the next change."""
    add(index, video("last"))
    index.close()
    entries = index.snapshot().entries_of(SPEC)
    assert entries is not None
    np.testing.assert_array_equal(entries.ids(), index.vectors(SPEC).ids)


@pytest.fixture
def index(tmp_path) -> Index:
    made = Index(tmp_path / "index")
    add(made, video("a"), video("b", 5))
    return made


STEPS = ("before vectors", "after vectors", "after entries")


def die_at(step: str, monkeypatch) -> None:
    """Let the next change end at a step."""
    save, note = VectorIndex.save, Catalogue.mark_unfinished

    def die_saving(self):
        if step == "after vectors":
            save(self)
        raise Killed

    def die_noting(self, unfinished):
        if not unfinished:
            raise Killed
        note(self, unfinished)

    if step == "after entries":
        monkeypatch.setattr(Catalogue, "mark_unfinished", die_noting)
    else:
        monkeypatch.setattr(VectorIndex, "save", die_saving)


@pytest.mark.parametrize("step", STEPS)
def test_end_of_an_addition(index, step, monkeypatch):
    with monkeypatch.context() as patched:
        die_at(step, patched)
        with pytest.raises(Killed):
            add(index, video("c"), video("d"))
    check(index, {"a", "b"})
    check_settled(index)
    check(index, {"a", "b", "last"})


@pytest.mark.parametrize("step", STEPS)
def test_end_of_a_removal(index, step, monkeypatch):
    with monkeypatch.context() as patched:
        die_at(step, patched)
        with pytest.raises(Killed), index.writing() as writer:
            writer.remove_files([Path("/v/a")])
    check(index, {"b"})
    check_settled(index)


@pytest.mark.parametrize("step", STEPS)
def test_end_of_a_replacement(index, step, monkeypatch):
    with monkeypatch.context() as patched:
        die_at(step, patched)
        with pytest.raises(Killed):
            add(index, video("a", content="changed"))
    check(index, {"a", "b"})
    check_settled(index)


def test_readers_keep_what_they_saw(index):
    before = index.snapshot()
    vectors = index.vectors(SPEC)
    with Index(index.folder).writing() as writer:
        writer.remove_files([Path("/v/b")])
        writer.add([video("c")])
    _, ids = vectors.search(np.eye(8, dtype=np.float32)[4:5], 1)
    entries = before.entries_of(SPEC)
    assert entries is not None
    content = int(entries.contents_of(ids)[0, 0])
    assert before.files[content][0].path.name == "b"
    check(index, {"a", "c"})


def test_ids_are_never_used_again(index):
    with index.writing() as writer:
        highest = index.vectors(SPEC).ids.max()
        writer.remove_files([Path("/v/a"), Path("/v/b")])
        writer.add([video("c")])
    index.close()
    assert index.vectors(SPEC).ids.min() > highest


def test_many_writers_lose_nothing(tmp_path):
    def write(number: int) -> None:
        own = Index(tmp_path / "index")
        for turn in range(5):
            add(own, video(f"{number}-{turn}"), video(f"all-{turn}"))
        own.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {f"{number}-{turn}" for number in (*range(4), "all") for turn in range(5)}
    check(Index(tmp_path / "index"), expected)
    check_settled(Index(tmp_path / "index"))


def test_contents_without_vectors(tmp_path):
    index = Index(tmp_path / "index")
    add(index, video("empty", 0), video("a"), video("none", 0), video("b"))
    check(index, {"empty", "a", "none", "b"})
    entries = index.snapshot().entries_of(SPEC)
    assert entries is not None
    assert len(set(entries.contents_of(entries.ids()).tolist())) == 2


def test_contents_of_ids():
    entries = Entries(np.array([7, 9]), np.array([10, 20]), np.array([3, 2]))
    assert entries.ids().tolist() == [10, 11, 12, 20, 21]
    assert entries.ids(np.array([False, True])).tolist() == [20, 21]
    found = entries.contents_of(np.array([[-1, 9, 10, 12, 13], [19, 20, 21, 22, 99]]))
    assert found.tolist() == [[-1, -1, 7, 7, -1], [-1, 9, 9, -1, -1]]


def test_names_that_are_no_text(tmp_path):
    index = Index(tmp_path / "index")
    odd = video("odd \udcff \n'; DROP TABLE files; --", content="odd")
    add(index, odd)
    check(index, {odd.path.name})


def test_foreign_catalogues(tmp_path):
    (tmp_path / FILE).write_bytes(b"no database, but some text that is long enough" * 99)
    with pytest.raises(CacheError, match=r"catalogue\.sqlite: cannot be used"):
        Index(tmp_path).snapshot()
    other = Index(tmp_path / "newer")
    add(other, video("a"))
    with other.writing() as writer:
        writer.catalogue._run("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(CacheError, match="another version of vtg"):
        other.snapshot()


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="cannot be written"), Index(tmp_path / "file" / "index").writing():
        pass
