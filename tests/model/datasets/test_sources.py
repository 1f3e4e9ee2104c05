"""Where rows come from: folders of published files, or the cache of the extractors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from extractors.cache.store import FeatureCache
from extractors.features import FeatureSpec, TextFeatures
from extractors.videos.facts import VideoInfo
from model.datasets.annotations import AnnotationError
from model.datasets.features import TEXT_KEY, FeatureFileError, FeatureFolder
from model.datasets.sources import CachedVideos, EncodedTexts, FolderTexts, FolderVideos
from tests.model.datasets.small import annotation, random_rows

ROWS = random_rows(np.random.default_rng(0), 5, 4)


@pytest.fixture
def texts(tmp_path: Path) -> FolderTexts:
    return FolderTexts(FeatureFolder(tmp_path, "clip_text", 4, key=TEXT_KEY))


class TestFolders:
    @pytest.mark.parametrize(("qid", "stem"), [(7, "qid7"), (7, "7"), ("s17-d69_0", "s17-d69_0")])
    def test_qid_with_or_without_prefix(
        self, tmp_path: Path, texts: FolderTexts, qid: int | str, stem: str
    ) -> None:
        np.savez(tmp_path / f"{stem}.npz", last_hidden_state=ROWS, pooler_output=ROWS[0])
        line = annotation("tacos", qid=qid)
        np.testing.assert_array_equal(texts.load(line), ROWS)
        assert texts.missing([line]) == []

    def test_the_prefix_comes_first(self, tmp_path: Path, texts: FolderTexts) -> None:
        np.savez(tmp_path / "7.npz", last_hidden_state=-ROWS)
        np.savez(tmp_path / "qid7.npz", last_hidden_state=ROWS)
        np.testing.assert_array_equal(texts.load(annotation("tacos", qid=7)), ROWS)

    def test_queries_without_a_file_are_named(self, tmp_path: Path, texts: FolderTexts) -> None:
        np.savez(tmp_path / "qid7.npz", last_hidden_state=ROWS)
        lines = [annotation("tacos", qid=qid) for qid in (7, 8, "a")]
        assert texts.missing(lines) == ["qid8", "qida"]
        with pytest.raises(FeatureFileError, match=r"qid8\.npz: there are no 'clip_text' features"):
            texts.load(lines[1])

    def test_a_video_has_a_file_in_every_folder(self, tmp_path: Path) -> None:
        folders = [FeatureFolder(tmp_path / name, name, 4) for name in ("slowfast", "clip")]
        for folder, rows in zip(folders, (ROWS, -ROWS[:4]), strict=True):
            folder.folder.mkdir()
            np.savez(folder.folder / "v.npz", features=rows)
        np.savez(folders[0].folder / "w.npz", features=ROWS)
        videos = FolderVideos(folders)
        slowfast, clip = videos.load("v")
        np.testing.assert_array_equal(slowfast, ROWS)
        np.testing.assert_array_equal(clip, -ROWS[:4])
        assert videos.missing(["w", "v", "x", "w"]) == ["w", "x"]


class TestCache:
    def test_videos(self, tmp_path: Path) -> None:
        cache, specs = FeatureCache(tmp_path / "cache"), [FeatureSpec(n, 4, 2.0) for n in ("a", "b")]
        paths = {name: tmp_path / f"{name}.mp4" for name in ("whole", "half", "bare")}
        for name, path in paths.items():
            path.write_bytes(name.encode())  # never decoded: known by its content
        for name, count in (("whole", 2), ("half", 1)):
            info = VideoInfo(paths[name], 10.0, 25.0, 64, 48, 250, "h264", 0, "decord", "")
            for spec in specs[:count]:
                cache.store_video(paths[name], spec, ROWS, info)
        videos = CachedVideos(cache, specs, paths)
        assert videos.missing(["whole", "half", "bare", "unknown", "half"]) == ["half", "bare", "unknown"]
        for rows in videos.load("whole"):
            np.testing.assert_array_equal(rows, ROWS.astype(np.float16))
        with pytest.raises(AnnotationError, match=r"half\.mp4: its features are not in the cache"):
            videos.load("half")

    def test_queries_are_encoded_once(self, tmp_path: Path) -> None:
        class Lengths:
            """Each token is the length of a word."""

            spec = FeatureSpec("lengths", 1, 0.0)

            def __init__(self) -> None:
                self.asked: list[str] = []

            def encode(self, queries: Sequence[str]) -> list[TextFeatures]:
                self.asked.extend(queries)
                words = [[[float(len(word))] for word in query.split()] for query in queries]
                tokens = [np.array(lengths, np.float32) for lengths in words]
                return [TextFeatures(rows, rows[0]) for rows in tokens]

        cache, encoder = FeatureCache(tmp_path), Lengths()
        texts = EncodedTexts(["a dog", "two big cats", "a dog"], encoder, cache)
        assert encoder.asked == ["a dog", "two big cats"]
        line = annotation("custom", query="two big cats", relevant_windows=[[0, 1]])
        assert texts.load(line).tolist() == [[3], [3], [4]]
        assert texts.load(replace(line, query="a dog", qid=2)).tolist() == [[1], [3]]
        assert texts.missing([line]) == []
        EncodedTexts(["a dog"], encoder, cache)
        assert len(encoder.asked) == 2  # the cache knows it
