"""The alignment head: its curves by hand, its loss, and its place in the network."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.config import available_configs, load_config
from model.losses import alignment_loss
from model.network.alignment import AlignmentHead
from model.network.fast.packed import pack
from model.network.flashvtg import FlashVTG
from tests.model.network.test_flashvtg import SMALL, batch_of, build

WITH_HEAD = replace(SMALL, alignment_dim=5)


def smoothed_by_hand(curve: np.ndarray, width: float) -> np.ndarray:
    places = np.arange(len(curve))
    weights = np.exp(-0.5 * ((places[:, None] - places) / width) ** 2)
    weights[np.abs(places[:, None] - places) > math.ceil(3 * width)] = 0
    smoothed: np.ndarray = weights @ curve / weights.sum(axis=1)
    return smoothed


@torch.no_grad()
def test_curves_by_hand() -> None:
    head = AlignmentHead(
        replace(SMALL, video_dim=2, text_dim=2, hidden_dim=4, heads=1, alignment_dim=2)
    ).eval()
    for projection in (head.clip_projection, head.query_projection):
        projection.weight.copy_(torch.eye(2))
        projection.bias.zero_()
    head.output.weight.copy_(torch.eye(4))
    head.log_scale.fill_(math.log(7.0))
    rows = torch.randn(1, 14, 2, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(14)[None] < 12
    # words (1, 0) and (0, 1) weigh the same; the third is padding
    words = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]])
    query = head.query_directions(words, torch.tensor([[True, True, False]]))
    found = head(head.clip_directions(rows, mask), query, mask)

    valid = rows[0, :12].numpy().astype(np.float64)
    cosines = valid.sum(axis=1) / np.linalg.norm(valid, axis=1) / math.sqrt(2)
    curve = (cosines - cosines.mean()) / cosines.std()
    expected = [curve, smoothed_by_hand(curve, 1), smoothed_by_hand(curve, 3), 5 * cosines]
    np.testing.assert_allclose(found.channels[0, :12].T.numpy(), expected, atol=2e-3)
    np.testing.assert_allclose(found.logits[0, :12].numpy(), 7 * cosines, atol=1e-5)


def test_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, 9.0], [1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 2.0, 3.0]])
    saliency = torch.tensor([[0.0, 1.0, 2.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True, False], [True] * 4, [True] * 4])
    share = (math.e + math.e**2) / (1 + math.e + math.e**2)
    expected = (-math.log(share) - math.log(1 / 4)) / 2  # nothing is salient in the third video
    assert float(alignment_loss(logits, saliency, mask)) == pytest.approx(expected)


def test_loss_without_any_moment_has_a_gradient() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    alignment_loss(logits, torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)).backward()
    assert logits.grad is not None
    assert not logits.grad.any()


@torch.no_grad()
def test_directions_of_neighbours_by_hand() -> None:
    head = AlignmentHead(
        replace(SMALL, video_dim=2, text_dim=2, hidden_dim=4, heads=1, alignment_dim=2, alignment_kernel=3)
    ).eval()
    taps = torch.tensor([-1.0, 2.0, 0.5])  # of the clip before, of the clip, of the one after
    head.clip_projection.weight.copy_(torch.eye(2)[..., None] * taps)
    head.clip_projection.bias.zero_()
    rows = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [3.0, 1.0], [7.0, 7.0]]])
    mask = torch.tensor([[True, True, True, False]])
    expected = np.array([[2.0, 0.5], [-1.0 + 1.5, 2.0 + 0.5], [6.0, -1.0 + 2.0]])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(head.clip_directions(rows, mask)[0, :3].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("kernel", [1, 5])
@torch.no_grad()
def test_padding_and_negatives(kernel: int) -> None:
    model = build(replace(WITH_HEAD, alignment_kernel=kernel))
    video, video_mask, text, text_mask = batch_of([9, 6, 7], [4, 2, 3])
    output = model(video, video_mask, text, text_mask, negatives=torch.tensor([0, 2]))
    for sample, query in ((0, 0), (1, 1), (2, 2), (0, 1), (2, 0)):
        clips, words = int(video_mask[sample].sum()), int(text_mask[query].sum())
        alone = model(
            video[sample : sample + 1, :clips],
            video_mask[sample : sample + 1, :clips],
            text[query : query + 1, :words],
            text_mask[query : query + 1, :words],
        )
        if sample == query:
            torch.testing.assert_close(output.alignment[sample, :clips], alone.alignment[0])
            torch.testing.assert_close(output.saliency[sample, :clips], alone.saliency[0])
        else:
            assert output.negatives is not None
            row = output.negatives.index.tolist().index(sample)
            torch.testing.assert_close(output.negatives.saliency[row, :clips], alone.saliency[0])


@pytest.mark.parametrize("kernel", [1, 5])
@torch.no_grad()
def test_a_packed_network_answers_alike(kernel: int) -> None:
    model = build(replace(WITH_HEAD, alignment_kernel=kernel, existence=True))
    batch = batch_of([9, 6, 7], [4, 2, 3])
    plain = model(*batch)
    pack(model)
    packed = model(*batch)
    torch.testing.assert_close(packed.alignment, plain.alignment, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(packed.existence, plain.existence, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(packed.logits, plain.logits, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_one_video_meets_every_query() -> None:
    model = build(WITH_HEAD)
    video, video_mask, text, text_mask = batch_of([9, 9, 9], [4, 2, 3])
    output = model(video[:1], video_mask[:1], text, text_mask)
    repeated = model(video[:1].expand(3, -1, -1), video_mask[:1].expand(3, -1), text, text_mask)
    torch.testing.assert_close(output.logits, repeated.logits)
    torch.testing.assert_close(output.alignment, repeated.alignment)


def test_other_weights_stay_the_same() -> None:
    states = []
    for config in (replace(SMALL, existence=True), replace(SMALL, existence=True, alignment_dim=5)):
        torch.manual_seed(3)
        states.append(FlashVTG(config).state_dict())
    without, with_head = states
    assert {name for name in with_head if name not in without} == {
        name for name in with_head if name.startswith("alignment.")
    }
    for name, value in without.items():
        assert torch.equal(value, with_head[name])


@pytest.mark.parametrize("name", [name for name in available_configs() if name != "charades-clip-plus"])
def test_only_one_configuration_has_it(name: str) -> None:
    assert load_config(name).model.alignment_dim == 0
