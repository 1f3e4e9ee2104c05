"""Labels of clips: the rules of each dataset against a plain reading of them, and their edges by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import DataConfig
from model.datasets.annotations import Annotation
from model.datasets.labels import ClipLabels, clip_labels
from tests.model.datasets.small import annotation, qvhighlights, small_config

QVHIGHLIGHTS = small_config("qvhighlights-slowfast-clip").data
CHARADES = small_config("charades-sta-slowfast-clip").data
TVSUM = small_config("tvsum-slowfast-clip").data
YOUTUBE = small_config("youtube-highlights-clip-slowfast").data
OWN = small_config("custom-slowfast-clip").data

seeds = st.integers(0, 2**32 - 1)
scores = st.tuples(*[st.integers(0, 4)] * 3)


def label(line: Annotation, config: DataConfig, clips: int, seed: int = 0) -> ClipLabels:
    labels = clip_labels(line, config, clips, np.random.default_rng(seed))
    assert labels.saliency.dtype == np.float32
    assert labels.saliency.shape == (clips,)
    assert labels.positive.dtype == labels.negative.dtype == np.int64
    for chosen in (labels.positive, labels.negative):
        assert chosen.shape == ((1,) if config in (TVSUM, YOUTUBE) else (2,))
        assert (chosen >= 0).all()
        assert (chosen < clips).all()
    return labels


def drawn(choose: Callable[[int], ClipLabels], times: int = 200) -> tuple[list[set[int]], list[set[int]]]:
    """Every clip that was ever chosen, by its place among the positive and the negative ones."""
    labels = [choose(seed) for seed in range(times)]
    positive = zip(*(chosen.positive.tolist() for chosen in labels), strict=True)
    negative = zip(*(chosen.negative.tolist() for chosen in labels), strict=True)
    return [set(column) for column in positive], [set(column) for column in negative]


class TestQVHighlights:
    @given(
        by_clip=st.dictionaries(st.integers(0, 30), scores, min_size=1), clips=st.integers(1, 25), seed=seeds
    )
    def test_equals_a_plain_reading_of_the_rule(
        self, by_clip: dict[int, tuple[int, int, int]], clips: int, seed: int
    ) -> None:
        labels = label(qvhighlights(by_clip), QVHIGHLIGHTS, clips, seed)
        there = {clip: sum(three) for clip, three in by_clip.items() if clip < clips}
        assert labels.saliency.tolist() == [there.get(clip, 0) for clip in range(clips)]
        if not there:  # the moment lies behind the last row
            there = {clips - 1: 0}
        outside = set(range(clips)) - set(there)
        best, any_inside = labels.positive.tolist()
        worst, any_outside = labels.negative.tolist()
        assert there[best] == max(there.values())
        assert there[worst] == min(there.values())
        assert any_inside in there
        if outside:
            assert any_outside in outside
        else:
            assert (any_inside, any_outside) == (best, worst)

    def test_hard_pairs_are_fixed_and_easy_ones_are_drawn(self) -> None:
        line = qvhighlights({2: (4, 4, 4), 3: (0, 1, 0), 5: (2, 2, 2)})
        positive, negative = drawn(lambda seed: label(line, QVHIGHLIGHTS, 8, seed))
        assert positive == [{2}, {2, 3, 5}]
        assert negative == [{3}, {0, 1, 4, 6, 7}]

    def test_relevant_clip_with_zero_saliency(self) -> None:
        line = qvhighlights({0: (4, 4, 4), 1: (0, 0, 0)})
        assert drawn(lambda seed: label(line, QVHIGHLIGHTS, 3, seed))[1] == [{1}, {2}]

    def test_a_moment_of_the_whole_video(self) -> None:
        labels = label(qvhighlights({0: (1, 1, 1), 1: (3, 3, 3)}), QVHIGHLIGHTS, 2)
        assert labels.positive.tolist() == [1, 1]
        assert labels.negative.tolist() == [0, 0]

    def test_a_single_clip(self) -> None:
        positive, negative = drawn(lambda seed: label(qvhighlights({1: (2, 2, 2)}), QVHIGHLIGHTS, 3, seed))
        assert positive == [{1}, {1}]
        assert negative == [{1}, {0, 2}]

    def test_clips_beyond_the_features_are_cut(self) -> None:
        line = qvhighlights({3: (1, 1, 1), 4: (2, 2, 2), 5: (4, 4, 4)})
        labels = label(line, QVHIGHLIGHTS, 5)
        assert labels.saliency.tolist() == [0, 0, 0, 3, 6]
        assert labels.positive[0] == 4
        behind = label(qvhighlights({5: (4, 4, 4)}), QVHIGHLIGHTS, 5)
        assert behind.saliency.tolist() == [0] * 5
        assert behind.positive.tolist() == [4, 4]
        assert behind.negative[0] == 4


class TestMoments:
    """Charades-STA and TACoS."""

    @settings(max_examples=150)
    @given(
        duration_s=st.floats(1, 300),
        window=st.tuples(st.floats(0, 1.1), st.floats(0, 1.1)),
        clips=st.integers(1, 60),
        seed=seeds,
    )
    def test_equals_a_plain_reading_of_the_rule(
        self, duration_s: float, window: tuple[float, float], clips: int, seed: int
    ) -> None:
        start_s, end_s = (duration_s * share for share in sorted(window))
        line = annotation("charades_sta", duration=duration_s, relevant_windows=[[start_s, end_s]])
        labels = label(line, CHARADES, clips, seed)
        clip_length_s = duration_s / clips
        last = max(0, min(int(end_s / clip_length_s), clips) - 1)
        first = min(int(start_s / clip_length_s), last)
        inside = set(range(first, last + 1))
        outside = set(range(clips)) - inside
        assert labels.saliency.tolist() == [float(clip in inside) for clip in range(clips)]
        positive, negative = labels.positive.tolist(), labels.negative.tolist()
        assert set(positive) <= inside
        assert len(set(positive)) == min(2, len(inside))
        if len(outside) > 1:
            assert set(negative) <= outside
            assert len(set(negative)) == 2
        else:
            assert negative == positive
        for clip in positive:  # inside the moment, or where it is shorter than a clip, in the one before
            assert min(start_s, duration_s) / clip_length_s - 2.001 <= clip <= end_s / clip_length_s

    def test_a_clip_is_as_long_as_duration_over_rows(self) -> None:
        # Nominally a clip is 1 s, which would make it clips 6 to 8; 5 rows stand for 2 s each.
        line = annotation("charades_sta", duration=10, relevant_windows=[[6, 9]])
        assert label(line, CHARADES, 5).saliency.tolist() == [0, 0, 0, 1, 0]
        assert label(line, CHARADES, 10).saliency.tolist() == [0] * 6 + [1] * 3 + [0]
        assert label(line, CHARADES, 20).saliency.tolist() == [0] * 12 + [1] * 6 + [0] * 2

    def test_two_of_each_are_drawn_and_all_can_be(self) -> None:
        line = annotation("charades_sta", duration=8, relevant_windows=[[2, 5]])
        positive, negative = drawn(lambda seed: label(line, CHARADES, 8, seed))
        assert positive == [{2, 3, 4}] * 2
        assert negative == [{0, 1, 5, 6, 7}] * 2

    def test_a_moment_shorter_than_a_clip(self) -> None:
        line = annotation("charades_sta", duration=10, relevant_windows=[[4.2, 4.6]])
        labels = label(line, CHARADES, 10)
        assert labels.saliency.sum() == 1
        assert labels.positive.tolist() == [3, 3]  # the published rule ends a clip early, and begins no later

    def test_fewer_than_two_clips_outside(self) -> None:
        line = annotation("charades_sta", duration=4, relevant_windows=[[0, 3]])
        labels = label(line, CHARADES, 4)
        assert labels.saliency.tolist() == [1, 1, 1, 0]
        assert labels.negative.tolist() == labels.positive.tolist()
        single = label(line, CHARADES, 1)
        assert single.positive.tolist() == single.negative.tolist() == [0, 0]

    def test_a_moment_that_goes_on_after_the_video(self) -> None:
        line = annotation("charades_sta", duration=4, relevant_windows=[[3, 400]])
        assert label(line, CHARADES, 4).saliency.tolist() == [0, 0, 0, 1]
        behind = annotation("charades_sta", duration=4, relevant_windows=[[300, 400]])
        assert label(behind, CHARADES, 4).saliency.tolist() == [0, 0, 0, 1]

    def test_every_moment_counts(self) -> None:
        line = annotation("custom", duration=10, relevant_windows=[[1, 2], [4, 6], [5, 8]])
        assert label(line, OWN, 10).saliency.tolist() == [0, 1, 0, 0, 1, 1, 1, 1, 0, 0]


class TestHighlights:
    @given(labels_of_clips=st.lists(st.integers(1, 5), min_size=1, max_size=20), rows=st.integers(1, 25))
    def test_the_most_salient_clip_above_the_least(self, labels_of_clips: list[int], rows: int) -> None:
        line = annotation("tvsum", duration=len(labels_of_clips), label=[[n, n] for n in labels_of_clips])
        labels = label(line, TVSUM, rows)
        fitted = [3.0 * (n - 1) for n in labels_of_clips[:rows]] + [0.0] * (rows - len(labels_of_clips))
        np.testing.assert_allclose(labels.saliency, fitted)
        (most,), (least,) = labels.positive.tolist(), labels.negative.tolist()
        assert fitted[most] == max(fitted)
        assert fitted[least] == min(fitted)

    def test_nothing_is_drawn(self) -> None:
        line = annotation("youtube_highlights", label=[[0], [1], [0], [1]])
        positive, negative = drawn(lambda seed: label(line, YOUTUBE, 4, seed), times=20)
        assert len(positive[0]) == len(negative[0]) == 1
        assert label(line, YOUTUBE, 4).saliency.tolist() == [0, 1, 0, 1]


class TestOnesOwn:
    def test_saliency_ranks_the_clips(self) -> None:
        line = annotation("custom", relevant_windows=[[2, 6]], saliency=[0, 0.5, 1, 0, 0])
        positive, negative = drawn(lambda seed: label(line, OWN, 5, seed))
        assert positive == [{2}, {1, 2}]
        assert negative == [{1}, {0, 3, 4}]
        assert label(line, OWN, 5).saliency.tolist() == [0, 6, 12, 0, 0]
        assert label(line, OWN, 7).saliency.tolist() == [0, 6, 12, 0, 0, 0, 0]

    def test_where_no_clip_is_salient_the_moment_is(self) -> None:
        line = annotation("custom", relevant_windows=[[2, 6]], saliency=[0, 0, 0, 0, 0])
        labels = label(line, OWN, 5)
        assert labels.saliency.tolist() == [0, 1, 1, 0, 0]
        assert set(labels.positive.tolist()) == {1, 2}


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_draws_the_same(seed: int) -> None:
    line = annotation("charades_sta", duration=30, relevant_windows=[[5, 20]])
    one, other = (label(line, CHARADES, 30, seed) for _ in range(2))
    np.testing.assert_array_equal(one.positive, other.positive)
    np.testing.assert_array_equal(one.negative, other.negative)
