"""The synthetic dataset: the same from the same seed, in the published form, with the right statistics."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.synthetic_data import SyntheticSpec, write_synthetic
from model.datasets.annotations import read_annotations

SMALL = SyntheticSpec(train_queries=12, val_queries=6, clip_dim=16, slowfast_dim=8, text_dim=16)


def rows_of(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text("utf-8").splitlines()]


def array(path: Path, key: str = "features") -> NDArray[np.float16]:
    with np.load(path, allow_pickle=False) as stored:
        assert stored.files == [key]
        return stored[key]


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


class TestDeterminism:
    def test_same_seed_same_bytes(self, tmp_path: Path) -> None:
        write_synthetic(tmp_path / "a", SMALL)
        np.random.seed(1)  # global state must not matter
        write_synthetic(tmp_path / "b", SMALL)
        assert digests(tmp_path / "a") == digests(tmp_path / "b")

    def test_another_seed_is_another_dataset(self, tmp_path: Path) -> None:
        write_synthetic(tmp_path / "a", SMALL)
        write_synthetic(tmp_path / "b", replace(SMALL, seed=1))
        a, b = digests(tmp_path / "a"), digests(tmp_path / "b")
        assert not set(a.values()) & set(b.values())

    def test_a_longer_dataset_begins_with_the_shorter(self, tmp_path: Path) -> None:
        write_synthetic(tmp_path / "a", SMALL)
        write_synthetic(tmp_path / "b", replace(SMALL, train_queries=20))
        assert rows_of(tmp_path / "b")[:12] == rows_of(tmp_path / "a")
        queries = [[row["query"] for row in rows_of(tmp_path / name, "val")] for name in "ab"]
        assert queries[0] == queries[1]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    write_synthetic(folder, SMALL)
    return folder


class TestForm:
    def test_rows_are_those_of_qvhighlights(self, small: Path) -> None:
        rows = [*rows_of(small, "train"), *rows_of(small, "val")]
        assert [len(rows_of(small, split)) for split in ("train", "val")] == [12, 6]
        for row in rows:
            assert set(row) == {
                "qid",
                "query",
                "duration",
                "vid",
                "relevant_windows",
                "relevant_clip_ids",
                "saliency_scores",
            }
            assert isinstance(row["qid"], int)
            assert isinstance(row["duration"], int)
            assert len(row["saliency_scores"]) == len(row["relevant_clip_ids"])
        assert len({row["qid"] for row in rows}) == len({row["vid"] for row in rows}) == 18

    def test_splits_share_no_source(self, small: Path) -> None:
        sources = [
            {row["vid"].rsplit("_", 2)[0] for row in rows_of(small, split)} for split in ("train", "val")
        ]
        assert not sources[0] & sources[1]
        assert len(sources[0]) < 12  # some videos are cut from the same one, as negatives have to know

    def test_features(self, small: Path) -> None:
        for row in (*rows_of(small, "train"), *rows_of(small, "val")):
            clips = row["duration"] // 2
            clip = array(small / "clip_features" / f"{row['vid']}.npz")
            slowfast = array(small / "slowfast_features" / f"{row['vid']}.npz")
            text = array(small / "clip_text_features" / f"qid{row['qid']}.npz", "last_hidden_state")
            assert (clip.shape, slowfast.shape) == ((clips, 16), (clips, 8))
            assert text.shape == (len(row["query"].split()) + 2, 16)
            assert {clip.dtype, slowfast.dtype, text.dtype} == {np.dtype(np.float16)}
            assert (slowfast >= 0).all()

    def test_is_read_as_qvhighlights(self, small: Path) -> None:
        for annotation in read_annotations(small / "train.jsonl", "qvhighlights"):
            assert annotation.saliency is not None
            assert np.flatnonzero(annotation.saliency).max() in annotation.relevant_clips

    def test_one_window(self, tmp_path: Path) -> None:
        spec = replace(SMALL, windows="single", duration_s=30.0, clip_length_s=1.0, train_queries=60)
        write_synthetic(tmp_path, spec)
        for row in rows_of(tmp_path):
            assert set(row) == {"qid", "query", "duration", "vid", "relevant_windows"}
            assert len(array(tmp_path / "clip_features" / f"{row['vid']}.npz")) == row["duration"] <= 30
        annotations = read_annotations(tmp_path / "train.jsonl", "charades_sta")
        assert {len(annotation.windows_s) for annotation in annotations} == {1}

    def test_highlights(self, tmp_path: Path) -> None:
        write_synthetic(tmp_path, replace(SMALL, highlights=True, classes=3))
        annotations = read_annotations(tmp_path / "train.jsonl", "tvsum")
        assert len({annotation.domain for annotation in annotations}) == 3
        for row in rows_of(tmp_path):
            label = np.array(row["label"])
            assert label.shape == (row["duration"], 20)
            assert (label.min(), label.max()) == (1, 5)
            assert (tmp_path / "clip_text_features" / f"{row['qid']}.npz").is_file()

    def test_shortest_videos(self, tmp_path: Path) -> None:
        write_synthetic(tmp_path, replace(SMALL, duration_s=32.0, train_queries=200))
        check_windows(rows_of(tmp_path))

    @pytest.mark.parametrize(
        "change",
        [
            {"classes": 1},
            {"classes": 1000},
            {"clip_dim": 0},
            {"gain": -1.0},
            {"duration_s": 10.0},
            {"seed": -1},
        ],
        ids=str,
    )
    def test_refuses_what_makes_no_dataset(self, change: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(change))):
            replace(SMALL, **change)


def check_windows(rows: list[dict[str, Any]]) -> None:
    """Windows are whole clips inside the video, apart and in order, and relevant clips are those inside them."""
    for row in rows:
        windows = np.array(row["relevant_windows"])
        edges = windows.ravel()
        assert (np.diff(edges) > 0).all()
        assert edges[0] >= 0
        assert edges[-1] <= row["duration"]
        assert (edges % 2 == 0).all()
        inside = [clip for start, end in windows // 2 for clip in range(start, end)]
        assert row["relevant_clip_ids"] == inside


@pytest.fixture(scope="module")
def many_rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("many")
    write_synthetic(folder, replace(SMALL, train_queries=800, clip_dim=2, slowfast_dim=2, text_dim=2))
    return rows_of(folder)


@pytest.mark.slow
class TestStatistics:
    """Of QVHighlights' training split; what is asked for is its value and what is left to chance and to the model."""

    def test_durations(self, many_rows: list[dict[str, Any]]) -> None:
        durations = np.array([row["duration"] for row in many_rows])
        assert np.mean(durations == 150) == pytest.approx(0.9705, abs=0.02)
        assert durations.min() >= 120

    def test_windows(self, many_rows: list[dict[str, Any]]) -> None:
        check_windows(many_rows)
        counts = np.array([len(row["relevant_windows"]) for row in many_rows])
        assert np.mean(counts == 1) == pytest.approx(0.673, abs=0.05)
        assert np.mean(counts == 2) == pytest.approx(0.170, abs=0.04)
        assert counts.mean() == pytest.approx(1.774, abs=0.2)
        lengths = np.concatenate([np.diff(row["relevant_windows"])[:, 0] for row in many_rows])
        assert np.quantile(lengths, [0.1, 0.25, 0.5, 0.75]) == pytest.approx([2, 6, 16, 30], abs=2)
        assert lengths.mean() == pytest.approx(25.1, abs=3)
        assert np.mean(lengths <= 10) == pytest.approx(0.373, abs=0.05)
        assert np.mean(lengths > 30) == pytest.approx(0.237, abs=0.05)

    def test_places(self, many_rows: list[dict[str, Any]]) -> None:
        coverage = np.array([len(row["relevant_clip_ids"]) * 2 / row["duration"] for row in many_rows])
        assert np.quantile(coverage, [0.25, 0.5, 0.75]) == pytest.approx([0.15, 0.20, 0.35], abs=0.03)
        assert coverage.mean() == pytest.approx(0.298, abs=0.04)
        windows = [np.array(row["relevant_windows"]) for row in many_rows]
        gaps = np.concatenate([window[1:, 0] - window[:-1, 1] for window in windows])
        assert np.quantile(gaps, [0.25, 0.5, 0.75]) == pytest.approx([2, 6, 12], abs=2)
        starts = np.concatenate([window[:, 0] for window in windows]) / 150
        assert np.mean(starts < 0.1) == pytest.approx(0.207, abs=0.04)

    def test_saliency(self, many_rows: list[dict[str, Any]]) -> None:
        scores = [np.array(row["saliency_scores"]) for row in many_rows]
        everything = np.concatenate(scores)
        shares = np.bincount(everything.ravel(), minlength=5) / everything.size
        assert shares == pytest.approx([0.032, 0.073, 0.185, 0.307, 0.404], abs=0.03)
        assert everything.mean() == pytest.approx(2.98, abs=0.1)
        correlation = np.corrcoef(everything.T)[np.triu_indices(3, 1)]
        assert correlation.mean() == pytest.approx(0.18, abs=0.06)
        sums = [score.sum(axis=1) for score in scores]
        assert np.mean([total.std() for total in sums]) == pytest.approx(1.32, abs=0.1)
        deviations = [total - total.mean() for total in sums]
        lagged = np.concatenate([each[1:] * each[:-1] for each in deviations]).mean()
        assert lagged / np.concatenate(deviations).var() == pytest.approx(0.5, abs=0.06)
        assert np.mean([not (score == 4).any() for score in scores]) == pytest.approx(0.019, abs=0.015)

    def test_queries(self, many_rows: list[dict[str, Any]]) -> None:
        lengths = [len(row["query"].split()) for row in many_rows]
        assert np.median(lengths) == pytest.approx(10, abs=2)
        assert min(lengths) >= 4


@pytest.fixture(scope="module")
def signalless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signalless")
    spec = replace(SMALL, train_queries=60, clip_dim=512, slowfast_dim=256, text_dim=512, gain=0.0)
    write_synthetic(folder, spec)
    return folder


class TestFeatures:
    """Without a signal, features vary as published CLIP and SlowFast features do."""

    def test_clip(self, signalless: Path) -> None:
        videos = [array(path).astype(float) for path in sorted((signalless / "clip_features").glob("train*"))]
        norms = np.linalg.norm(np.concatenate(videos), axis=1)
        assert norms.mean() == pytest.approx(10.44, abs=0.1)
        assert norms.std() == pytest.approx(0.5, abs=0.05)
        units = [video / np.linalg.norm(video, axis=1, keepdims=True) for video in videos]
        assert np.linalg.norm(np.concatenate(units).mean(axis=0)) == pytest.approx(0.836, abs=0.02)
        neighbours = np.concatenate([(unit[1:] * unit[:-1]).sum(axis=1) for unit in units])
        assert neighbours.mean() == pytest.approx(0.917, abs=0.02)
        strangers = [(a[10] * b[10]).sum() for a, b in pairwise(units)]
        assert np.mean(strangers) == pytest.approx(0.70, abs=0.03)
        within = np.concatenate([unit - unit.mean(axis=0) for unit in units])
        energy = np.linalg.eigvalsh(within.T @ within)  # ascending
        assert energy[-20:].sum() / energy.sum() == pytest.approx(0.57, abs=0.05)

    def test_slowfast(self, signalless: Path) -> None:
        videos = [
            array(path).astype(float) for path in sorted((signalless / "slowfast_features").glob("train*"))
        ]
        norms = np.linalg.norm(np.concatenate(videos), axis=1)
        assert norms.mean() == pytest.approx(15.9, abs=0.5)
        assert norms.std() == pytest.approx(4.9, abs=0.5)
        assert np.mean(np.concatenate(videos) == 0) == pytest.approx(0.057, abs=0.02)
        units = [video / np.linalg.norm(video, axis=1, keepdims=True) for video in videos]
        neighbours = np.concatenate([(unit[1:] * unit[:-1]).sum(axis=1) for unit in units])
        assert neighbours.mean() == pytest.approx(0.894, abs=0.02)

    def test_tokens(self, signalless: Path) -> None:
        tokens = array(signalless / "clip_text_features" / "qid0.npz", "last_hidden_state").astype(float)
        norms = np.linalg.norm(tokens, axis=1)
        assert norms == pytest.approx([27.5, *[24.0] * (len(tokens) - 1)], abs=0.1)
        units = tokens / norms[:, None]
        assert (units @ units.T)[np.triu_indices(len(units), 1)].mean() == pytest.approx(0.37, abs=0.1)


@pytest.fixture(scope="module")
def areas(tmp_path_factory: pytest.TempPathFactory) -> dict[float, float]:
    """Of the probe, by gain."""
    areas = {}
    for gain in (1.0, 7.0):
        folder = tmp_path_factory.mktemp("gain")
        spec = SyntheticSpec(train_queries=300, val_queries=60, clip_dim=128, text_dim=256, gain=gain)
        write_synthetic(folder, spec)
        areas[gain] = probe(folder)
    return areas


@pytest.mark.slow
class TestLearnability:
    """A bilinear probe, fitted in closed form, tells clips of a query's moments from all others."""

    def test_at_gain_seven_words_find_their_clips(self, areas: dict[float, float]) -> None:
        assert areas[7.0] > 0.95

    def test_a_weaker_signal_is_harder_to_find(self, areas: dict[float, float]) -> None:
        assert areas[1.0] < areas[7.0] - 0.1


def probe(folder: Path) -> float:
    """Area under the ROC curve, over all clips of the validation split."""
    videos, texts, inside = read_split(folder, "train")
    mean_clip, mean_text = np.concatenate(videos).mean(axis=0), texts.mean(axis=0)
    moments = np.stack([video[mask].mean(axis=0) for video, mask in zip(videos, inside, strict=True)])
    x, y = texts - mean_text, moments - mean_clip
    ridge = 1e-5 * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(x.T @ x + ridge, x.T @ y)  # (D_t, D_v)
    videos, texts, inside = read_split(folder, "val")
    wanted = (texts - mean_text) @ weights  # (Q, D_v) what the query's moments should look like
    scores = [(video - mean_clip) @ want for video, want in zip(videos, wanted, strict=True)]
    return area(np.concatenate(scores), np.concatenate(inside))


def read_split(
    folder: Path, split: str
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64], list[NDArray[np.bool_]]]:
    """Normalised streams side by side, mean tokens, and which clips are relevant."""
    videos, texts, inside = [], [], []
    for row in rows_of(folder, split):
        streams = [
            array(folder / f"{name}_features" / f"{row['vid']}.npz").astype(float)
            for name in ("slowfast", "clip")
        ]
        video = np.concatenate([s / np.linalg.norm(s, axis=1, keepdims=True) for s in streams], axis=1)
        tokens = array(folder / "clip_text_features" / f"qid{row['qid']}.npz", "last_hidden_state")
        videos.append(video)
        texts.append(tokens.astype(float).mean(axis=0) / 24)
        inside.append(np.isin(np.arange(len(video)), row["relevant_clip_ids"]))
    return videos, np.stack(texts), inside


def area(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    ranks = np.argsort(np.argsort(scores)) + 1
    count = positive.sum()
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(scores) - count)))
