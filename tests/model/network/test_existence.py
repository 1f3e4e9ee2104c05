"""The existence head: its formula by hand, its place in the network, and its absence from published ones."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from model.config import available_configs, load_config
from model.dataset_entry import OWN
from model.network.existence import ExistenceHead
from model.network.flashvtg import AbsentPairs, FlashVTG
from tests.model.network.test_flashvtg import SMALL, batch_of, build

WITH_HEAD = replace(SMALL, existence=True)
OURS = {"charades-clip-minilm", "charades-clip-plus", "custom-lite", "custom-slowfast-clip"}


@torch.no_grad()
def test_by_hand() -> None:
    head = ExistenceHead(replace(SMALL, video_dim=2, text_dim=2, hidden_dim=2, heads=1))
    for projection in (head.clip_projection, head.query_projection):
        projection.weight.copy_(torch.eye(2))
        projection.bias.zero_()
    head.word_scores.weight.copy_(torch.tensor([[math.log(3.0), 0.0]]))
    head.log_scale.fill_(math.log(7.0))
    head.log_sharpness.fill_(math.log(2.0))
    head.bias.fill_(-1.0)
    clips = head.clip_directions(
        torch.tensor([[[3.0, 4.0], [0.0, -5.0], [9.0, 9.0]]]), torch.tensor([[True, True, False]])
    )
    # words (1, 0) and (0, 1) weigh 3/4 and 1/4; the third is padding
    query = head.query_directions(
        torch.tensor([[[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]]), torch.tensor([[True, True, False]])
    )
    mask = torch.tensor([[True, True, False]])
    length = math.hypot(0.75, 0.25)
    cosines = (0.6 * 0.75 + 0.8 * 0.25) / length, -0.25 / length
    weights = [math.exp(2 * cosine) for cosine in cosines]
    mean = sum(weight * cosine for weight, cosine in zip(weights, cosines, strict=True)) / sum(weights)
    assert float(head(clips, query, mask)) == pytest.approx(7 * mean - 1)
    assert float(head.pairs(clips, query, mask)) == pytest.approx(7 * mean - 1)


@torch.no_grad()
def test_padding_and_pairs() -> None:
    model = build(WITH_HEAD)
    video, video_mask, text, text_mask = batch_of([9, 6, 7], [4, 2, 3])
    output = model(video, video_mask, text, text_mask, negatives=torch.tensor([0, 2]))
    assert output.pairs.shape == (3, 3)
    for own in range(3):
        clips = int(video_mask[own].sum())
        for query in range(3):
            words = int(text_mask[query].sum())
            alone = model(
                video[own : own + 1, :clips],
                video_mask[own : own + 1, :clips],
                text[query : query + 1, :words],
                text_mask[query : query + 1, :words],
            )
            torch.testing.assert_close(alone.existence[0], output.pairs[own, query], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.existence, output.pairs.diagonal())
    torch.testing.assert_close(model.match(video, video_mask, text, text_mask), output.pairs)
    assert len(set(output.pairs.flatten().tolist())) == 9


@torch.no_grad()
def test_one_video_under_many_queries() -> None:
    model = build(WITH_HEAD)
    video, video_mask, text, text_mask = batch_of([9, 6, 7], [4, 2, 3])
    found = model(video[:1], video_mask[:1], text, text_mask).existence
    torch.testing.assert_close(found, model.match(video[:1], video_mask[:1], text, text_mask)[0])


@torch.no_grad()
def test_absent_pairs() -> None:
    model, batch, others = build(WITH_HEAD), batch_of([9, 6, 7], [4, 2, 3]), batch_of([5, 8], [3, 6])
    output = model(*batch, negatives=torch.tensor([0]), absent=AbsentPairs(*others))
    torch.testing.assert_close(output.absent, model(*others).existence)
    without = model(*batch, negatives=torch.tensor([0]))
    assert without.absent is None
    assert torch.equal(output.pairs, without.pairs)


def test_autocast_leaves_it_alone() -> None:
    model, batch = build(WITH_HEAD), batch_of([9, 6, 7], [4, 2, 3])
    expected = model(*batch).existence
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(*batch).existence
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_no_gradient_reaches_other_weights() -> None:
    model, batch = build(WITH_HEAD), batch_of([9, 6, 7], [4, 2, 3])
    output = model(*batch, negatives=torch.tensor([0]), absent=AbsentPairs(*batch))
    (output.existence.sum() + output.pairs.exp().sum() + output.absent.sum()).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == name.startswith("existence.")


def test_other_weights_stay() -> None:
    """The head is drawn last, so a seed gives the rest of the network the same numbers with it as without."""
    torch.manual_seed(1)
    without = FlashVTG(SMALL).state_dict()
    torch.manual_seed(1)
    with_head = FlashVTG(WITH_HEAD).state_dict()
    added = with_head.keys() - without.keys()
    assert added
    assert all(name.startswith("existence.") for name in added)
    for name, value in without.items():
        assert torch.equal(with_head[name], value)


@torch.no_grad()
def test_without_head() -> None:
    model, batch = build(SMALL), batch_of([9, 6], [4, 2])
    output = model(*batch, negatives=torch.tensor([0]), absent=AbsentPairs(*batch))
    assert output.existence is output.pairs is output.absent is None
    with pytest.raises(ValueError, match=r"model\.existence is off"):
        model.match(*batch)


@pytest.mark.parametrize("name", available_configs())
def test_only_our_configurations_have_it(name: str) -> None:
    config = load_config(name)
    assert config.model.existence == (name in OURS)
    assert config.data.dataset != OWN or name in OURS
