"""Each loss against a plain loop that follows its definition."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.config import LossConfig, load_config, override_config
from model.losses import (
    Criterion,
    LossTerms,
    Targets,
    assign_points,
    clip_aware_loss,
    existence_loss,
    focal_loss,
    foreign_pairs,
    negative_index,
    offset_iou,
    offset_loss,
    quality_focal_loss,
    rank_contrast,
    saliency_classification_loss,
    saliency_hinge,
    saliency_loss,
    sampled_nce_loss,
)
from model.network.flashvtg import FlashVTGOutput, NegativeOutput

LENGTHS = [7, 4, 6]
LONGEST = 9
POINTS = torch.tensor(
    [[float(i), 0, 2, 1] for i in range(LONGEST)] + [[2.0 * i, 2, torch.inf, 2] for i in range(4)]
)


def mask() -> Tensor:
    return torch.arange(LONGEST) < torch.tensor(LENGTHS)[:, None]


def labels() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 13, (3, LONGEST), generator=generator).float() * mask()


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@given(
    windows=st.lists(
        st.tuples(st.integers(0, 16), st.integers(1, 16)).map(lambda w: (w[0] / 2, (w[0] + w[1]) / 2)),
        min_size=1,
        max_size=4,
    ),
    padding=st.integers(0, 2),
)
def test_points_are_given_the_shortest_fitting_moment(
    windows: list[tuple[float, float]], padding: int
) -> None:
    padded = [*windows, *[(torch.inf, torch.inf)] * padding]
    positive, offsets = assign_points(POINTS, torch.tensor([padded]), radius=1.5)
    for index, (position, low, high, stride) in enumerate(POINTS.tolist()):
        fitting = []
        for start, end in windows:
            centre = (start + end) / 2
            near = max(centre - 1.5 * stride, start) <= position <= min(centre + 1.5 * stride, end)
            if near and low <= max(position - start, end - position) <= high:
                fitting.append((end - start, start, end))
        assert bool(positive[0, index]) == bool(fitting)
        if fitting:
            _, start, end = min(fitting, key=lambda window: window[0])
            expected = torch.tensor([(position - start) / stride, (end - position) / stride])
            torch.testing.assert_close(offsets[0, index], expected)


def test_focal_loss() -> None:
    logits, positive = values(3, LONGEST), labels() > 6
    expected = 0.0
    for b, length in enumerate(LENGTHS):
        for i in range(length):
            p = sigmoid(float(logits[b, i]))
            right = p if positive[b, i] else 1 - p
            expected -= (1 - right) ** 2 * math.log(right)
    assert float(focal_loss(logits, positive, mask())) == pytest.approx(expected / sum(LENGTHS), rel=1e-5)


def test_saliency_labels_beyond_one() -> None:
    logits, saliency = values(3, LONGEST), labels()
    expected = 0.0
    for b, length in enumerate(LENGTHS):
        for i in range(length):
            p, y = sigmoid(float(logits[b, i])), float(saliency[b, i])
            expected -= y * math.log(p) + (1 - y) * math.log(1 - p)
    found = saliency_classification_loss(logits, saliency, mask())
    assert float(found) == pytest.approx(expected / sum(LENGTHS), rel=1e-5)


def test_offsets_are_averaged_over_positive_points() -> None:
    offsets, target = values(2, 5, 2), values(2, 5, 2, seed=1)
    positive = torch.tensor([[True, False, False, True, False], [False] * 5])
    expected = sum(float((offsets[0, i] - target[0, i]).abs().sum()) for i in (0, 3)) / 4
    assert float(offset_loss(offsets, target, positive)) == pytest.approx(expected, rel=1e-5)
    target[1] = -torch.inf  # what an unassigned point holds must not matter
    offsets.requires_grad_()
    loss = offset_loss(offsets, target, positive)
    (grad,) = torch.autograd.grad(loss, offsets)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert (grad[~positive] == 0).all()
    assert float(offset_loss(offsets, target, positive & False)) == 0


def test_clip_aware_loss_rescales_per_batch() -> None:
    logits, saliency = values(3, LONGEST), labels()
    rows = [(float(logits[b, i]), float(saliency[b, i])) for b, n in enumerate(LENGTHS) for i in range(n)]
    scores, truth = zip(*rows, strict=True)
    expected = 0.0
    for score, label in rows:
        a = (score - min(scores)) / (max(scores) - min(scores))
        b = (label - min(truth)) / (max(truth) - min(truth))
        expected += (a - b) ** 2
    assert float(clip_aware_loss(logits, saliency, mask())) == pytest.approx(expected / len(rows), rel=1e-5)
    assert clip_aware_loss(logits, torch.zeros_like(saliency), mask()).isfinite()


@pytest.mark.parametrize("over_batch", [False, True])
def test_sampled_nce_loss(over_batch: bool) -> None:
    clips, query, saliency = values(3, LONGEST, 5), values(3, 5, seed=1), labels()
    positive = torch.tensor([2, 1, 0])

    def similarity(b: int, i: int) -> float:
        a, q = clips[b, i].double(), query[b].double()
        return float(a @ q / (a.norm() * q.norm())) / 0.07

    def allowed(b: int, i: int) -> bool:
        return i < LENGTHS[b] and bool(saliency[b, i] <= saliency[b, positive[b]])

    expected = 0.0
    for b in range(3):
        c = int(positive[b])
        row = sum(math.exp(similarity(b, i)) for i in range(LONGEST) if allowed(b, i))
        expected -= (similarity(b, c) - math.log(row)) / 3
        if over_batch:
            column = sum(math.exp(similarity(o, c)) for o in range(3) if allowed(o, c))
            expected -= (similarity(b, c) - math.log(column)) / 3
    found = sampled_nce_loss(
        clips, query, positive, saliency, mask(), temperature=0.07, over_batch=over_batch
    )
    assert float(found) == pytest.approx(expected, rel=1e-4)


def rank_loop(scores: Tensor, saliency: Tensor, lengths: list[int]) -> list[float]:
    """Rank contrast of each sample."""
    losses = []
    for row, label, n in zip(scores.double(), saliency, lengths, strict=True):
        logits = [float(x) / 0.5 for x in row[:n]]
        highest = max(logits)
        partition = math.log(sum(math.exp(x - highest) for x in logits) + 1e-6)
        total = 0.0
        for rank in range(1, 12):
            salient = [x - highest - partition for x, y in zip(logits, label[:n], strict=True) if y >= rank]
            total -= sum(salient) / (len(salient) + 1e-6)
        losses.append(total / 12)
    return losses


def test_rank_contrast() -> None:
    found = rank_contrast(values(3, LONGEST), labels(), mask(), temperature=0.5)
    torch.testing.assert_close(
        found.tolist(), rank_loop(values(3, LONGEST), labels(), LENGTHS), rtol=1e-5, atol=1e-6
    )


def test_hinge() -> None:
    scores = torch.tensor([[0.0, 1.0, 0.1], [2.0, 0.0, 0.0]])
    loss = saliency_hinge(scores, torch.tensor([[1, 2], [0, 1]]), torch.tensor([[0, 0], [1, 2]]), margin=0.2)
    assert float(loss) == pytest.approx(2 * (0 + 0.1 + 0 + 0.2) / 4)


def output_of(negatives: list[int] | None) -> FlashVTGOutput:
    index = torch.tensor(negatives) if negatives else None
    return FlashVTGOutput(
        saliency=values(3, LONGEST),
        engagement=values(3, LONGEST, seed=1).sigmoid(),
        logits=values(3, LONGEST + 4, seed=2),
        offsets=values(3, LONGEST + 4, 2, seed=3).exp(),
        points=POINTS,
        point_mask=torch.cat([mask(), torch.arange(4) < (torch.tensor(LENGTHS) // 2)[:, None]], dim=1),
        video_mask=mask(),
        clips=values(3, LONGEST, 5, seed=4).relu(),
        query=values(3, 5, seed=5),
        negatives=None
        if index is None
        else NegativeOutput(
            index, values(len(index), LONGEST, seed=6), values(len(index), LONGEST, seed=7).sigmoid()
        ),
    )


@pytest.mark.parametrize("negatives", [None, [0], [0, 2], [0, 1, 2]])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_saliency_loss(negatives: list[int] | None, penalty: float) -> None:
    output, saliency = output_of(negatives), labels()
    positive, negative = torch.tensor([[0, 1], [1, 2], [3, 3]]), torch.tensor([[2, 3], [3, 0], [5, 0]])
    config = LossConfig(negative_weight=penalty)
    expected = 0.0
    for scores in (output.saliency, output.engagement):
        expected += float(saliency_hinge(scores, positive, negative, margin=0.2))
    for b, n in enumerate(LENGTHS):
        for i in range(n):
            a, y = float(output.engagement[b, i]), min(1.0, float(saliency[b, i]))
            expected -= (y * math.log(a) + (1 - y) * math.log(1 - a)) / sum(LENGTHS)
    if output.negatives is None:
        for scores in (output.saliency, output.engagement):
            expected += sum(rank_loop(scores, saliency, LENGTHS)) / 3
    else:
        chosen = output.negatives.index.tolist()
        for own, foreign in (
            (output.saliency, output.negatives.saliency),
            (output.engagement, output.negatives.engagement),
        ):
            for row, b in enumerate(chosen):
                n = LENGTHS[b]
                both = torch.cat([own[b, :n], foreign[row, :n]])[None]
                label = torch.cat([saliency[b, :n], torch.zeros(n)])[None]
                expected += rank_loop(both, label, [2 * n])[0] / len(chosen)
        others = [b for b in range(3) if b not in chosen]
        if len(others) >= 2:
            losses = rank_loop(output.saliency, saliency, LENGTHS)
            expected += sum(losses[b] for b in others) / len(others)
        for row, b in enumerate(chosen):
            for i in range(LENGTHS[b]):
                silence = -math.log(1 - sigmoid(float(output.negatives.saliency[row, i])))
                silence -= math.log(1 - float(output.negatives.engagement[row, i]))
                expected += penalty * silence / len(chosen)
    assert float(saliency_loss(output, saliency, positive, negative, config)) == pytest.approx(
        expected, rel=1e-5
    )


def test_samples_borrow_the_query_of_another_video() -> None:
    ids = ["a_0.0_150.0", "a_60.0_210.0", "b_x_0.0_150.0", "b_x_0.0_150.0"]
    by_video, by_source = negative_index(ids, "video"), negative_index(ids, "source")
    assert by_video is not None
    assert by_source is not None
    assert by_video.tolist() == [0, 1, 3]
    assert by_source.tolist() == [1, 3]
    assert negative_index(ids[:1], "video") is None
    assert negative_index(ids[:2], "source") is None


def targets() -> Targets:
    windows = [[[0.0, 6.0], [4.0, 9.0]], [[2.0, 8.0], [torch.inf] * 2], [[0.0, 12.0], [torch.inf] * 2]]
    return Targets(
        labels(),
        torch.tensor([[0, 1], [1, 2], [3, 3]]),
        torch.tensor([[2, 3], [3, 0], [5, 0]]),
        torch.tensor(windows),
    )


def test_total_is_the_weighed_sum_of_the_terms() -> None:
    config = load_config("qvhighlights-slowfast-clip")
    terms = Criterion(config)(output_of([0, 2]), targets())
    loss = config.loss
    expected = (
        loss.regression_weight * terms.regression
        + loss.classification_weight * terms.classification
        + loss.nce_weight * terms.nce
        + loss.saliency_weight * terms.saliency
        + loss.clip_aware_weight * terms.clip_aware
    )
    torch.testing.assert_close(terms.total, expected)
    assert all(float(getattr(terms, name)) > 0 for name in names_of(terms) - {"existence", "alignment"})
    assert terms.existence is None
    assert terms.alignment is None


def test_quality_focal_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, 2.0, -1.0, 3.0]])
    quality = torch.tensor([[0.8, 0.5, 0.9, 1.0]])
    positive = torch.tensor([[True, False, True, True]])
    mask = torch.tensor([[True, True, True, False]])
    terms = []
    for logit, target in ((0.0, 0.8), (2.0, 0.0), (-1.0, 0.9)):
        share = sigmoid(logit)
        entropy = -target * math.log(share) - (1 - target) * math.log(1 - share)
        terms.append(entropy * (share - target) ** 2)
    found = quality_focal_loss(logits, quality, positive, mask)
    assert float(found) == pytest.approx(sum(terms) / 2)


def test_quality_equals_focal_where_moments_are_perfect() -> None:
    logits, mask = torch.tensor([[0.3, -2.0, 1.5]]), torch.ones(1, 3, dtype=torch.bool)
    positive = torch.tensor([[True, False, False]])
    found = quality_focal_loss(logits, positive.float(), positive, mask)
    torch.testing.assert_close(found, 3 * focal_loss(logits, positive, mask))


@given(
    point=st.floats(0, 50),
    given_ends=st.tuples(st.floats(0, 50), st.floats(0, 50)),
    true_ends=st.tuples(st.floats(0, 50), st.floats(0.125, 50)),
)
def test_iou_around_a_point(
    point: float, given_ends: tuple[float, float], true_ends: tuple[float, float]
) -> None:
    found = offset_iou(torch.tensor(given_ends), torch.tensor(true_ends))
    first, second = ((point - before, point + after) for before, after in (given_ends, true_ends))
    common = max(0.0, min(first[1], second[1]) - max(first[0], second[0]))
    covered = max(first[1], second[1]) - min(first[0], second[0])
    assert float(found) == pytest.approx(common / covered, abs=1e-4)


@pytest.mark.parametrize("classification", ["focal", "quality"])
def test_quality_is_no_target_of_the_boundaries(classification: str) -> None:
    """The boundaries learn from their own loss alone."""
    config = override_config(
        load_config("qvhighlights-slowfast-clip"),
        [f"loss.classification={classification}", "loss.regression_weight=0"],
    )
    output = output_of([0, 2])
    output.offsets.requires_grad_(True)
    output.logits.requires_grad_(True)
    terms = Criterion(config)(output, targets())
    terms.total.backward()
    assert float(terms.classification) > 0
    assert output.logits.grad is not None
    assert output.offsets.grad is None or not output.offsets.grad.any()


def names_of(terms: LossTerms) -> set[str]:
    return {entry.name for entry in fields(terms)}


def test_existence_loss() -> None:
    own, foreign = [0.0, 2.0], [-1.0, 0.5, 3.0]
    expected = -sum(math.log(sigmoid(logit)) for logit in own) / 2
    expected -= sum(math.log(1 - sigmoid(logit)) for logit in foreign) / 3
    found = existence_loss(torch.tensor(own), torch.tensor(foreign))
    assert float(found) == pytest.approx(expected / 2)


def test_existence_loss_of_a_file() -> None:
    """Each kind of negatives counts the same, however many there are."""
    own, foreign, absent = torch.tensor([0.0, 2.0]), torch.tensor([-1.0, 0.5, 3.0]), torch.tensor([1.5])
    halves = existence_loss(own, foreign), existence_loss(own, absent)
    torch.testing.assert_close(existence_loss(own, foreign, absent), sum(halves) / 2)
    torch.testing.assert_close(existence_loss(own, foreign[:0], absent), halves[1])
    torch.testing.assert_close(existence_loss(own, foreign, absent[:0]), halves[0])


def test_foreign_pairs() -> None:
    vids = ["a_0_5", "a_5_9", "b_0_5", "a_0_5"]
    other, same = True, False
    assert foreign_pairs(vids, "video").tolist() == [
        [same, other, other, same],
        [other, same, other, other],
        [other, other, same, other],
        [same, other, other, same],
    ]
    assert foreign_pairs(vids, "source").tolist() == [
        [same, same, other, same],
        [same, same, other, same],
        [other, other, same, other],
        [same, same, other, same],
    ]


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_existence_is_a_term_of_its_own(weight: float) -> None:
    config = override_config(load_config("custom-lite"), [f"loss.existence_weight={weight}"])
    plain = output_of([0, 2])
    assert plain.negatives is not None
    pairs, absent = values(3, 3, seed=8), values(2, seed=9)
    own, foreign = pairs.diagonal(), foreign_pairs(["a", "b", "a"], "video")
    others = torch.stack([pairs[0, 1], pairs[1, 0], pairs[1, 2], pairs[2, 1]])
    output = replace(plain, existence=own, pairs=pairs)
    without = Criterion(config)(plain, targets())
    terms = Criterion(config)(output, targets(), foreign=foreign)
    assert terms.existence is not None
    torch.testing.assert_close(terms.existence, existence_loss(own, others))
    torch.testing.assert_close(terms.total, without.total + weight * terms.existence)
    both = Criterion(config)(replace(output, absent=absent), targets(), foreign=foreign)
    torch.testing.assert_close(both.existence, existence_loss(own, others, absent))
    # A batch of one video has no negatives.
    for lonely in (replace(output, pairs=None), output):
        alone = Criterion(config)(lonely, targets(), foreign=torch.zeros(3, 3, dtype=torch.bool))
        torch.testing.assert_close(alone.existence, torch.tensor(0.0))


def test_clip_aware_loss_goes_with_score_refinement() -> None:
    config = override_config(load_config("qvhighlights-slowfast-clip"), ["model.score_refinement=false"])
    assert float(Criterion(config)(output_of(None), targets()).clip_aware) == 0


def test_padding_of_a_batch_changes_no_loss() -> None:
    """More padding, and garbage in it, gives the same."""
    config = load_config("qvhighlights-slowfast-clip")
    output, truth = output_of([0, 1, 2]), targets()
    assert output.negatives is not None
    expected = Criterion(config)(output, truth)
    clips, points = ~output.video_mask, ~output.point_mask

    def spoil(x: Tensor, where: Tensor, value: float) -> Tensor:
        return x.masked_fill(where.view(*where.shape, *(1 for _ in x.shape[2:])), value)

    spoilt = replace(
        output,
        saliency=spoil(output.saliency, clips, 50.0),
        engagement=spoil(output.engagement, clips, 0.99),
        logits=spoil(output.logits, points, -30.0),
        offsets=spoil(output.offsets, points, 1e4),
        clips=spoil(output.clips, clips, 3.0),
        negatives=replace(
            output.negatives,
            saliency=spoil(output.negatives.saliency, clips, 50.0),
            engagement=spoil(output.negatives.engagement, clips, 0.99),
        ),
    )
    found = Criterion(config)(spoilt, truth)
    for entry in fields(found):
        torch.testing.assert_close(getattr(found, entry.name), getattr(expected, entry.name))


def test_moments_are_asked_for() -> None:
    config = load_config("qvhighlights-slowfast-clip")
    with pytest.raises(ValueError, match="windows_s"):
        Criterion(config)(output_of(None), replace(targets(), windows_s=None))
