"""Samples and batches: what the network reads, against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from model.config import Config, TrainingConfig, load_config
from model.datasets.annotations import AnnotationError, read_annotations
from model.datasets.features import FeatureFolder
from model.datasets.grounding import Batch, EpochBatches, GroundingDataset, Sample, collate
from model.datasets.sources import FolderTexts, FolderVideos
from model.network.flashvtg import FlashVTG
from model.rows import clip_rows, pad_rows, token_rows
from model.training.evaluation import evaluate_model
from tests.model.datasets.small import Folders, annotation, qvhighlights, small_config
from tests.shared_data import shared

QVHIGHLIGHTS = small_config("qvhighlights-slowfast-clip")
CHARADES = small_config("charades-sta-slowfast-clip")
TVSUM = small_config("tvsum-slowfast-clip")
YOUTUBE = small_config("youtube-highlights-clip-slowfast")

SLOWFAST = np.array([[3, 0, 4], [0, 2, 0], [0, 0, 0], [1, 1, 1]], np.float32)  # a row more than CLIP's
CLIP = np.array([[1, 0], [6, 8], [0, -2]], np.float32)
TOKENS = np.array([[2, 0, 0, 0], [0, 3, 0, 4]], np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    """Each row over its length, and a little more, as published."""
    rows = np.asarray(rows, np.float64)
    return rows / (np.sqrt((rows**2).sum(axis=1, keepdims=True)) + 1e-5)


class TestRows:
    def test_each_stream_by_itself_cut_to_the_shortest(self) -> None:
        rows = clip_rows([SLOWFAST, CLIP], QVHIGHLIGHTS.data)
        assert rows.dtype == torch.float32
        expected = [[0.6, 0, 0.8, 1, 0], [0, 1, 0, 0.6, 0.8], [0, 0, 0, 0, -1]]
        np.testing.assert_allclose(rows, expected, atol=1e-5)
        np.testing.assert_allclose(rows, np.hstack([unit(SLOWFAST[:3]), unit(CLIP)]), rtol=1e-6)

    @pytest.mark.parametrize("kind", [np.float16, np.float64, np.int32])
    def test_normalisation_in_single_precision(self, kind: type) -> None:
        rows = clip_rows([SLOWFAST.astype(kind), CLIP.astype(kind)], QVHIGHLIGHTS.data)
        torch.testing.assert_close(rows, clip_rows([SLOWFAST, CLIP], QVHIGHLIGHTS.data), rtol=0, atol=0)
        # 300² does not fit into half precision.
        large = clip_rows([np.full((1, 3), 300, np.float16), CLIP[:1].astype(np.float16)], QVHIGHLIGHTS.data)
        np.testing.assert_allclose(large[0, :3], [3**-0.5] * 3, rtol=1e-5)

    def test_what_was_read_is_left_as_it_is(self) -> None:
        slowfast, clip = SLOWFAST.copy(), CLIP.copy()
        clip_rows([slowfast, clip], QVHIGHLIGHTS.data).zero_()
        np.testing.assert_array_equal(slowfast, SLOWFAST)
        np.testing.assert_array_equal(clip, CLIP)

    def test_streams_that_are_not_normalised(self) -> None:
        streams = QVHIGHLIGHTS.data.video_features
        data = dataclasses.replace(
            QVHIGHLIGHTS.data,
            video_features=(streams[0], dataclasses.replace(streams[1], normalization="none")),
        )
        rows = clip_rows([SLOWFAST, CLIP], data)
        np.testing.assert_allclose(rows, np.hstack([unit(SLOWFAST[:3]), CLIP]), rtol=1e-6)

    def test_no_more_clips_than_configured(self) -> None:
        data = dataclasses.replace(QVHIGHLIGHTS.data, max_clips=2)
        assert clip_rows([SLOWFAST, CLIP], data).shape == (2, 5)

    def test_words_are_cut_and_normalised(self) -> None:
        tokens = np.tile(TOKENS, (30, 1))
        np.testing.assert_allclose(token_rows(tokens, QVHIGHLIGHTS.data), unit(tokens[:40]), rtol=1e-6)
        np.testing.assert_allclose(token_rows(tokens, CHARADES.data), unit(tokens[:32]), rtol=1e-6)
        for raw in (TVSUM, YOUTUBE, small_config("charades-sta-vgg")):
            np.testing.assert_array_equal(token_rows(tokens, raw.data), tokens)

    def test_padding(self) -> None:
        padded, mask = pad_rows([torch.ones(2, 3), torch.ones(1, 3)])
        assert padded.tolist() == [[[1, 1, 1], [1, 1, 1]], [[1, 1, 1], [0, 0, 0]]]
        assert mask.tolist() == [[True, True], [True, False]]


class TestSamples:
    @pytest.fixture
    def folders(self, tmp_path: Path) -> Folders:
        folders = Folders(tmp_path, QVHIGHLIGHTS)
        folders.put_video("v", SLOWFAST, CLIP)
        folders.put_text("qid1", TOKENS)
        return folders

    def test_a_sample(self, folders: Folders) -> None:
        line = qvhighlights({1: (4, 4, 4)}, duration=6)
        sample = folders.dataset([line])[0, 0]
        assert sample.annotation is line
        np.testing.assert_allclose(sample.video, np.hstack([unit(SLOWFAST[:3]), unit(CLIP)]), rtol=1e-6)
        np.testing.assert_allclose(sample.text, unit(TOKENS), rtol=1e-6)
        assert sample.labels is not None
        assert sample.labels.saliency.tolist() == [0, 12, 0]

    def test_reading_twice_gives_the_same(self, folders: Folders) -> None:
        line = qvhighlights({1: (4, 4, 4)})
        for keep_bytes in (0, 1 << 20):
            dataset = folders.dataset([line], keep_bytes=keep_bytes)
            one = dataset[0, 0]
            one.video.zero_()
            one.text.zero_()
            assert dataset[0, 0].video.abs().sum() > 0
            assert dataset[0, 0].text.abs().sum() > 0

    def test_rows_are_kept_in_memory_up_to_a_size(self, folders: Folders) -> None:
        folders.put_video("w", SLOWFAST, CLIP)
        lines = [qvhighlights({1: (4, 4, 4)}), qvhighlights({1: (4, 4, 4)}, qid=2, vid="w")]
        folders.put_text("qid2", TOKENS)
        dataset = folders.dataset(lines, keep_bytes=SLOWFAST.nbytes + CLIP.nbytes)
        before = [dataset[0, index].video for index in (0, 1)]
        for vid in "vw":
            folders.put_video(vid, 0 * SLOWFAST, 0 * CLIP)
        torch.testing.assert_close(dataset[0, 0].video, before[0])
        assert dataset[0, 1].video.abs().sum() == 0  # there was no room for it

    @pytest.mark.parametrize("config", [TVSUM, YOUTUBE], ids=lambda config: config.data.dataset)
    def test_clips_after_the_labels_are_cut(self, tmp_path: Path, config: Config) -> None:
        folders = Folders(tmp_path, config)
        folders.put_video("v", SLOWFAST, CLIP)
        folders.put_text("1", TOKENS)
        line = annotation(
            config.data.dataset, duration=2, label=[[1], [0]] if config is YOUTUBE else [[1], [3]]
        )
        for labelled in (True, False):
            sample = folders.dataset([line], labelled=labelled)[0, 0]
            assert sample.video.shape == (2, 5)
            np.testing.assert_array_equal(sample.text, TOKENS)  # neither normalised nor cut
            # The temporal endpoint feature counts the clips that are left.
            np.testing.assert_allclose(collate([sample]).video[0, :, -2:], [[0, 0.5], [0.5, 1]])

    def test_fewer_rows_than_labels(self, tmp_path: Path) -> None:
        folders = Folders(tmp_path, TVSUM)
        folders.put_video("v", SLOWFAST, CLIP)
        folders.put_text("1", TOKENS)
        line = annotation("tvsum", duration=5, label=[[1], [3], [2], [5], [4]])
        labels = folders.dataset([line])[0, 0].labels
        assert labels is not None
        assert labels.saliency.tolist() == [0, 6, 3]
        assert labels.positive.tolist() == [1]

    def test_the_longest_video_in_clips(self, folders: Folders) -> None:
        folders.put_video("w", SLOWFAST[:2], CLIP)
        lines = [qvhighlights({1: (4, 4, 4)}, qid=qid, vid=vid) for qid, vid in enumerate("wvv")]
        assert folders.dataset(lines).longest_clips() == 3  # what the shorter of its streams has
        assert folders.dataset(lines[:1]).longest_clips() == 2

    def test_without_a_duration_the_rows_tell(self, tmp_path: Path) -> None:
        folders = Folders(tmp_path, small_config("custom-slowfast-clip"))
        folders.put_video("v", SLOWFAST, CLIP)
        folders.put_text("qid1", TOKENS)
        line = annotation("custom", duration=None, relevant_windows=[[2, 4]])
        sample = folders.dataset([line])[0, 0]
        assert sample.annotation.duration_s == 6
        assert sample.labels is not None
        assert sample.labels.saliency.tolist() == [0, 1, 0]

    def test_split_without_ground_truth(self, folders: Folders) -> None:
        hidden = annotation("qvhighlights", duration=6)
        with pytest.raises(AnnotationError, match="1 of 2 queries have no moment, the first of them qid 1"):
            folders.dataset([hidden, qvhighlights({1: (4, 4, 4)}, qid=2)])
        dataset = folders.dataset([hidden], labelled=False)
        assert dataset[0, 0].labels is None
        assert collate([dataset[0, 0]]).targets is None
        evaluation = evaluate_model(FlashVTG(QVHIGHLIGHTS.model), dataset)
        assert len(evaluation.decoded[0]["pred_relevant_windows"]) > 0
        assert evaluation.metrics == evaluation.suppressed_metrics == {}


class TestLabelsOverEpochs:
    def dataset(self, folder: Path, *overrides: str, **options: int) -> GroundingDataset:
        folders = Folders(folder, small_config("charades-sta-slowfast-clip", *overrides))
        lines = [
            annotation("charades_sta", qid=qid, vid=f"v{qid}", duration=40, relevant_windows=[[10, 30]])
            for qid in range(4)
        ]
        folders.put_random(lines, [40] * 4)
        return folders.dataset(lines, **options)

    @staticmethod
    def pairs(dataset: GroundingDataset, epoch: int, index: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        labels = dataset[epoch, index].labels
        assert labels is not None
        return tuple(labels.positive.tolist()), tuple(labels.negative.tolist())

    def test_labels_are_resampled(self, tmp_path: Path) -> None:
        dataset = self.dataset(tmp_path)
        chosen = {self.pairs(dataset, epoch, index) for epoch in range(10) for index in range(4)}
        assert len(chosen) > 30

    def test_labels_drawn_once(self, tmp_path: Path) -> None:
        dataset = self.dataset(tmp_path, "training.resample_labels=false")
        for index in range(4):
            assert len({self.pairs(dataset, epoch, index) for epoch in range(10)}) == 1
        assert len({self.pairs(dataset, 0, index) for index in range(4)}) > 1

    def test_the_seed_decides(self, tmp_path: Path) -> None:
        one, same, other = (self.dataset(tmp_path, f"training.seed={seed}") for seed in (1, 1, 2))
        places = [(epoch, index) for epoch in range(5) for index in range(4)]
        drawn, again, others = ([self.pairs(d, *place) for place in places] for d in (one, same, other))
        assert drawn == again
        assert drawn != others

    def test_samples_do_not_depend_on_order(self, tmp_path: Path) -> None:
        places = [(epoch, index) for epoch in range(5) for index in range(4)]
        first = self.dataset(tmp_path)
        expected = {place: self.pairs(first, *place) for place in places}
        random.Random(0).shuffle(places)
        np.random.seed(0)
        second = self.dataset(tmp_path, keep_bytes=0)
        assert {place: self.pairs(second, *place) for place in places} == expected


class TestBatches:
    @pytest.fixture
    def samples(self, tmp_path: Path) -> list[Sample]:
        """A video of two clips with one moment and one of four with seven."""
        folders = Folders(tmp_path, QVHIGHLIGHTS)
        folders.put_video("short", SLOWFAST[:2], CLIP[:2])
        folders.put_video("long", SLOWFAST, np.ones((4, 2), np.float32))
        folders.put_text("qid1", TOKENS)
        folders.put_text("qid2", TOKENS[:1])
        windows = [[k, k + 1] for k in range(7)]
        lines = [
            qvhighlights({0: (1, 1, 0), 1: (4, 4, 4)}, vid="short", duration=4),
            qvhighlights({2: (3, 2, 1)}, vid="long", qid=2, duration=8, relevant_windows=windows),
        ]
        dataset = folders.dataset(lines)
        return [dataset[0, index] for index in (0, 1)]

    def test_by_hand(self, samples: list[Sample]) -> None:
        batch = collate(samples)
        assert batch.video.shape == (2, 4, 7)
        assert batch.text.shape == (2, 2, 4)
        assert batch.video_mask.tolist() == [[True, True, False, False], [True] * 4]
        assert batch.text_mask.tolist() == [[True, True], [True, False]]
        np.testing.assert_allclose(batch.video[0, :2, :5], samples[0].video)
        np.testing.assert_allclose(batch.video[1, :, :5], samples[1].video)
        # Where each clip starts and ends, as shares of its own video; appended, not normalised with the rest.
        np.testing.assert_allclose(batch.video[0, :, 5:], [[0, 0.5], [0.5, 1], [0, 0], [0, 0]])
        np.testing.assert_allclose(batch.video[1, :, 5:], [[0, 0.25], [0.25, 0.5], [0.5, 0.75], [0.75, 1]])
        assert (batch.video[0, 2:] == 0).all()
        assert (batch.text[1, 1] == 0).all()
        np.testing.assert_allclose(batch.text[0], unit(TOKENS), rtol=1e-6)
        assert batch.annotations == tuple(sample.annotation for sample in samples)

    def test_lengths_of_a_multiple_are_padding_alone(self, samples: list[Sample]) -> None:
        batch, padded = collate(samples), collate(samples, multiple=8)
        assert (padded.video.shape, padded.text.shape) == ((2, 8, 7), (2, 8, 4))
        assert (padded.video_mask.sum(), padded.text_mask.sum()) == (
            batch.video_mask.sum(),
            batch.text_mask.sum(),
        )
        np.testing.assert_array_equal(padded.video[:, :4], batch.video)
        np.testing.assert_array_equal(padded.text[:, :2], batch.text)
        assert padded.targets is not None
        assert batch.targets is not None
        np.testing.assert_array_equal(padded.targets.saliency[:, :4], batch.targets.saliency)
        assert not padded.targets.saliency[:, 4:].any()

    def test_targets_by_hand(self, samples: list[Sample]) -> None:
        targets = collate(samples).targets
        assert targets is not None
        assert targets.saliency.tolist() == [[2, 12, 0, 0], [0, 0, 6, 0]]
        assert targets.positive_clips.dtype == targets.negative_clips.dtype == torch.int64
        assert targets.positive_clips.tolist()[0] == [1, 1]
        assert targets.negative_clips.tolist()[0] == [0, 0]
        assert targets.positive_clips.tolist()[1] == [2, 2]
        assert targets.negative_clips[1, 0] == 2
        assert targets.negative_clips[1, 1] in (0, 1, 3)
        assert targets.windows_s is not None
        assert targets.windows_s[0].tolist() == [[0, 4], *[[torch.inf, torch.inf]] * 6]
        assert targets.windows_s[1].tolist() == [[k, k + 1] for k in range(7)]  # all, not only five

    def test_datasets_without_moments_have_no_windows(self, tmp_path: Path) -> None:
        folders = Folders(tmp_path, TVSUM)
        folders.put_video("v", SLOWFAST, CLIP)
        folders.put_text("1", TOKENS)
        targets = collate([folders.dataset([annotation("tvsum", label=[[1], [5], [3]])])[0, 0]]).targets
        assert targets is not None
        assert targets.windows_s is None
        assert targets.saliency.tolist() == [[0, 12, 6]]
        assert targets.positive_clips.tolist() == [[1]]
        assert targets.negative_clips.tolist() == [[0]]

    def test_moving(self, samples: list[Sample]) -> None:
        batch = collate(samples)
        moved = batch.to("cpu")
        for name in ("video", "video_mask", "text", "text_mask"):
            assert torch.equal(getattr(moved, name), getattr(batch, name))
        assert moved.targets is not None
        assert moved.annotations is batch.annotations
        assert batch.to("meta").video.device.type == "meta"
        assert batch.to("meta").targets.windows_s.device.type == "meta"  # type: ignore[union-attr]
        unlabelled = collate([dataclasses.replace(sample, labels=None) for sample in samples])
        assert unlabelled.to("cpu").targets is None


training_configs = st.builds(
    TrainingConfig,
    epochs=st.just(1),
    batch_size=st.integers(1, 7),
    learning_rate=st.just(1.0),
    selection_metrics=st.just(("mAP",)),
    drop_last=st.booleans(),
    length_groups=st.integers(1, 4),
    seed=st.integers(0, 100),
)


def epoch_of(durations_s: list[float], config: TrainingConfig, epoch: int = 0) -> list[list[int]]:
    batches = EpochBatches(durations_s, config)
    batches.epoch = epoch
    found = list(batches)
    assert len(found) == len(batches)
    assert {place[0] for batch in found for place in batch} <= {epoch}
    return [[index for _, index in batch] for batch in found]


def padding(batches: list[list[int]], durations_s: np.ndarray) -> float:
    return sum(len(batch) * max(durations_s[batch]) - sum(durations_s[batch]) for batch in batches)


class TestEpochs:
    @given(
        durations_s=st.lists(st.floats(1, 100) | st.just(float("nan")), min_size=1, max_size=40),
        config=training_configs,
        epoch=st.integers(0, 5),
    )
    def test_every_sample_once_in_batches_of_one_size(
        self, durations_s: list[float], config: TrainingConfig, epoch: int
    ) -> None:
        batches = epoch_of(durations_s, config, epoch)
        seen = Counter(index for batch in batches for index in batch)
        left_out = len(durations_s) % config.batch_size if config.drop_last else 0
        assert set(seen) <= set(range(len(durations_s)))
        assert set(seen.values()) <= {1}
        assert len(seen) == len(durations_s) - left_out
        assert sum(len(batch) != config.batch_size for batch in batches) <= (not config.drop_last)
        assert batches == epoch_of(durations_s, config, epoch)

    @pytest.mark.parametrize("groups", [1, 4])
    def test_epochs_and_seeds_differ(self, groups: int) -> None:
        config = TrainingConfig(1, 8, 1.0, ("mAP",), length_groups=groups)
        durations_s = [float(k % 10) for k in range(100)]
        orders = [epoch_of(durations_s, config, epoch) for epoch in range(3)]
        orders.append(epoch_of(durations_s, dataclasses.replace(config, seed=7)))
        assert all(one != other for place, one in enumerate(orders) for other in orders[:place])

    def test_left_out_samples_change(self) -> None:
        config = TrainingConfig(1, 4, 1.0, ("mAP",), drop_last=True)
        left_out = set()
        for epoch in range(30):
            left_out |= set(range(7)).difference(*epoch_of([1.0] * 7, config, epoch))
        assert left_out == set(range(7))

    def test_length_groups_need_less_padding(self) -> None:
        durations_s = np.random.default_rng(0).uniform(5, 100, 512)
        plain, grouped, more = (
            padding(
                epoch_of(durations_s.tolist(), TrainingConfig(1, 16, 1.0, ("mAP",), length_groups=groups)),
                durations_s,
            )
            for groups in (1, 8, 32)
        )
        assert grouped < plain / 4
        assert more < grouped / 2

    def test_length_groups_are_shuffled(self) -> None:
        durations_s = [float(k) for k in range(256)]
        batches = epoch_of(durations_s, TrainingConfig(1, 8, 1.0, ("mAP",), length_groups=32))
        shortest = [min(batch) for batch in batches]
        assert shortest != sorted(shortest)
        assert any(batch != sorted(batch) for batch in batches)

    def test_a_loader_reads_them(self, tmp_path: Path) -> None:
        folders = Folders(tmp_path, QVHIGHLIGHTS)
        lines = [qvhighlights({1: (4, 4, 4)}, qid=qid, vid=f"v{qid}") for qid in range(7)]
        folders.put_random(lines, range(2, 9))
        config = dataclasses.replace(QVHIGHLIGHTS.training, batch_size=3)
        sampler = EpochBatches([line.duration_s for line in lines], config)
        loader = DataLoader(folders.dataset(lines), batch_sampler=sampler, collate_fn=collate)
        batches: list[Batch] = list(loader)
        assert [len(batch.annotations) for batch in batches] == [3, 3, 1]
        assert sorted(line.qid for batch in batches for line in batch.annotations) == list(range(7))


def test_published_sample() -> None:
    """SlowFast has 76 rows here, CLIP 75; both are half precision."""
    config = load_config("qvhighlights-slowfast-clip")
    root = shared("data/qvhl_sample")
    path = shared("data/annotations/qvhighlights/highlight_val_release.jsonl")
    line = next(a for a in read_annotations(path, "qvhighlights") if a.qid == 2579)
    videos = FolderVideos(
        [FeatureFolder(root / f"{s.name}_features", s.name, s.dim) for s in config.data.video_features]
    )
    texts = FolderTexts(FeatureFolder(root / "clip_text_features", "clip_text", 512, key="last_hidden_state"))
    sample = GroundingDataset([line], videos, texts, config)[0, 0]
    assert sample.video.shape == (75, 2816)
    assert sample.text.shape == (16, 512)
    for part in (sample.video[:, :2304], sample.video[:, 2304:], sample.text):
        torch.testing.assert_close(part.norm(dim=1), torch.ones(len(part)), rtol=0, atol=1e-4)
    assert sample.labels is not None
    inside = np.zeros(75, bool)
    inside[list(line.relevant_clips)] = True
    np.testing.assert_array_equal(sample.labels.saliency > 0, inside)
    batch = collate([sample])
    assert batch.video.shape == (1, 75, 2818)
    np.testing.assert_allclose(batch.video[0, :, -2], np.arange(75) / 75, rtol=1e-6)
    np.testing.assert_allclose(batch.video[0, :, -1], np.arange(1, 76) / 75, rtol=1e-6)
