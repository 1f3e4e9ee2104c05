from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from model.config import DecodingConfig, load_config
from model.decoding import clamp_moments, decode, decode_moments, predict, suppress_overlaps
from model.network.flashvtg import FlashVTG, FlashVTGOutput
from tests.shared_data import shared


def pad(rows: list[list[list[float]]]) -> Tensor:
    """Lists of moments as one tensor, padded with moments of score −1."""
    longest = max(len(moments) for moments in rows)
    return torch.tensor([moments + [[0.0, 0.0, -1.0]] * (longest - len(moments)) for moments in rows])


@pytest.fixture(scope="module")
def oracle() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(shared("oracles/metrics/nms/nms_oracle.json").read_text())
    return content


@pytest.mark.parametrize("kind", ["normal", "linear"])
@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_suppression_equals_the_published_one(oracle: dict[str, Any], kind: str, threshold: float) -> None:
    inputs = [row["pred_relevant_windows"] for row in oracle["input"]]
    expected = oracle[f"nms_{kind}_{threshold}"]
    # All inputs in one batch, so that the padding is tested as well.
    found = suppress_overlaps(pad(inputs), threshold=threshold, kind=kind)
    for ours, theirs in zip(found, expected, strict=True):
        if any(math.isnan(score) for _, _, score in theirs):
            # The published arithmetic divides 0 by 0 for two moments of length 0 at one place.
            assert ours.isfinite().all()
            continue
        kept = torch.tensor([row for row in theirs if row[2] > 0])
        # The order among suppressed moments is that of an unstable sort; that they are there is not.
        assert int((ours[:, 2] >= 0).sum()) == len(theirs)
        torch.testing.assert_close(ours[ours[:, 2] > 0], kept, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "max_end_s", "grid_s"), [("qvhl", 150, 2), ("charades", 150, 1), ("other", None, 2)]
)
def test_rounding_equals_the_published_one(
    oracle: dict[str, Any], setting: str, max_end_s: float | None, grid_s: float
) -> None:
    for row, expected in zip(oracle["input"], oracle["postprocess"][setting], strict=True):
        moments = torch.tensor([row["pred_relevant_windows"]])
        found = clamp_moments(moments, torch.tensor([torch.inf]), max_end_s=max_end_s, grid_s=grid_s)
        torch.testing.assert_close(found[0], torch.tensor(expected), rtol=0, atol=1e-4)


def greedy(moments: list[list[float]], threshold: float, kind: str) -> list[list[float]]:
    """Suppression one pair at a time, with exact arithmetic on whole seconds.

    Faded scores can come out equal, and then either moment may go first.
    """
    rest = [list(moment) for moment in moments]
    done: list[list[float]] = []
    while rest:
        best = max(rest, key=lambda moment: moment[2])
        assume(not any(other is not best and 0 < best[2] <= other[2] * (1 + 1e-5) for other in rest))
        rest.remove(best)
        done.append(best)
        for other in rest:
            shared_s = max(0.0, min(best[1], other[1]) - max(best[0], other[0]))
            union_s = best[1] - best[0] + other[1] - other[0] - shared_s
            overlap = shared_s / union_s if union_s > 0 else 0.0
            if kind == "linear":
                other[2] *= 1 - overlap
            elif overlap >= threshold:
                other[2] = 0.0
    return done


moments_strategy = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 10)), min_size=1, max_size=12
).flatmap(
    lambda spans: st.permutations(range(1, len(spans) + 1)).map(
        lambda ranks: [[float(s), float(s + n), r / 16] for (s, n), r in zip(spans, ranks, strict=True)]
    )
)


@given(rows=st.lists(moments_strategy, min_size=1, max_size=3), kind=st.sampled_from(["normal", "linear"]))
def test_suppression_equals_a_greedy_loop(rows: list[list[list[float]]], kind: str) -> None:
    found = suppress_overlaps(pad(rows), threshold=0.5, kind=kind)
    for ours, moments in zip(found, rows, strict=True):
        expected = sorted((m[2] for m in greedy(moments, 0.5, kind)), reverse=True)
        torch.testing.assert_close(ours[: len(moments), 2], torch.tensor(expected), rtol=1e-4, atol=1e-6)


def test_unknown_suppression_is_refused() -> None:
    with pytest.raises(ValueError, match="'soft'; known are normal, linear"):
        suppress_overlaps(torch.zeros(1, 1, 3), threshold=0.5, kind="soft")


def test_offsets_become_seconds_best_first() -> None:
    points = torch.tensor([[0.0, 0, 2, 1], [1, 0, 2, 1], [0, 2, torch.inf, 2]])
    offsets = torch.tensor([[[0.5, 1.0], [1.0, 0.5], [1.0, 3.0]]])
    scores = torch.tensor([[0.2, 0.9, 0.5]])
    mask = torch.tensor([[True, False, True]])
    found = decode_moments(offsets, scores, points, mask, clip_length_s=2.0, top_k=2)
    torch.testing.assert_close(found[0], torch.tensor([[-4.0, 12.0, 0.5], [-1.0, 2.0, 0.2]]))
    everything = decode_moments(offsets, scores, points, mask, clip_length_s=2.0, top_k=50)
    assert everything.shape == (1, 3, 3)
    assert everything[0, 2, 2] == -1


def test_moments_stay_on_the_grid() -> None:
    moments = torch.tensor([[[-3.0, 7.1, 0.9]], [[3.0, 99.0, 0.8]]])
    found = clamp_moments(moments, torch.tensor([20.0, 31.0]), max_end_s=30.0, grid_s=2.0)
    torch.testing.assert_close(found, torch.tensor([[[0.0, 8.0, 0.9]], [[4.0, 30.0, 0.8]]]))


def test_batch_equals_single_samples() -> None:
    torch.manual_seed(0)
    config = load_config("qvhighlights-slowfast-clip")
    config = replace(config, model=replace(config.model, cross_attention_layers=1, encoder_layers=1))
    model = FlashVTG(config.model).eval()
    clips, words = [21, 9, 3], [4, 2, 6]
    video, text = torch.randn(3, 21, 2818), torch.randn(3, 6, 512)
    video_mask = torch.arange(21) < torch.tensor(clips)[:, None]
    text_mask = torch.arange(6) < torch.tensor(words)[:, None]
    batch = predict(model, video, video_mask, text, text_mask, config=config)
    for sample, (length, tokens) in enumerate(zip(clips, words, strict=True)):
        (alone,) = predict(
            model,
            video[sample : sample + 1, :length],
            video_mask[sample : sample + 1, :length],
            text[sample : sample + 1, :tokens],
            text_mask[sample : sample + 1, :tokens],
            config=config,
        )
        points = sum(length // stride for stride in (1, 2, 4, 8))
        assert alone.moments.shape == (min(50, points), 3)
        assert alone.saliency.shape == (length,)
        assert ((alone.moments[:, :2] >= 0) & (alone.moments[:, :2] <= 2 * length)).all()
        torch.testing.assert_close(batch[sample].saliency, alone.saliency, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(batch[sample].moments, alone.moments, rtol=1e-4, atol=1e-5)


def test_durations_replace_the_count_of_clips() -> None:
    output = FlashVTGOutput(
        saliency=torch.zeros(1, 2),
        engagement=torch.zeros(1, 2),
        logits=torch.zeros(1, 2),
        offsets=torch.full((1, 2, 2), 5.0),
        points=torch.tensor([[0.0, 0, torch.inf, 1], [1, 0, torch.inf, 1]]),
        point_mask=torch.ones(1, 2, dtype=torch.bool),
        video_mask=torch.ones(1, 2, dtype=torch.bool),
        clips=torch.zeros(1, 2, 4),
        query=torch.zeros(1, 4),
    )
    config = DecodingConfig(round_to_clips=False, nms="none")
    by_clips = decode(output, config, clip_length_s=2.0)[0].moments
    by_duration = decode(output, config, clip_length_s=2.0, durations_s=[3.5])[0].moments
    assert by_clips[:, 1].tolist() == [4.0, 4.0]
    assert by_duration[:, 1].tolist() == [3.5, 3.5]
