"""The existence head: its formula by hand, its place in the network, and its absence from published ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.config import available_configs, load_config
from model.dataset_entry import OWN
from model.network.existence import ExistenceHead
from model.network.flashvtg import FlashVTG
from tests.model.network.test_flashvtg import SMALL, batch_of, build

WITH_HEAD = replace(SMALL, existence=True)
OURS = {"charades-clip-minilm", "custom-lite", "custom-slowfast-clip"}


@torch.no_grad()
def test_by_hand() -> None:
    head = ExistenceHead(replace(SMALL, hidden_dim=2, heads=1))
    # highest clip (2), highest saliency, engagement, cosine; mean clip (2), mean saliency, engagement, cosine
    head.linear.weight.copy_(torch.tensor([[1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10]]))
    head.linear.bias.fill_(0.5)
    clips = torch.tensor([[[3.0, 4.0], [0.0, -5.0], [9.0, 9.0]]])
    logit = head(
        clips,
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[-2.0, -4.0, 7.0]]),
        torch.tensor([[0.5, 0.1, 1.0]]),
        torch.tensor([[True, True, False]]),
    )
    # rectified clips (3, 4), (0, 0); cosines 0.6, 0
    highest = 1 * 3 + 2 * 4 + 3 * -2 + 4 * 0.5 + 5 * 0.6
    mean = 6 * 1.5 + 7 * 2 + 8 * -3 + 9 * 0.3 + 10 * 0.3
    assert float(logit) == pytest.approx(highest + mean + 0.5)


@torch.no_grad()
def test_padding_and_negatives() -> None:
    model = build(WITH_HEAD)
    video, video_mask, text, text_mask = batch_of([9, 6, 7], [4, 2, 3])
    output = model(video, video_mask, text, text_mask, negatives=torch.tensor([0, 2]))
    for row, (own, other) in enumerate(((0, 1), (2, 0))):
        clips = int(video_mask[own].sum())
        for query, found in ((own, output.existence[own]), (other, output.negatives.existence[row])):
            words = int(text_mask[query].sum())
            alone = model(
                video[own : own + 1, :clips],
                video_mask[own : own + 1, :clips],
                text[query : query + 1, :words],
                text_mask[query : query + 1, :words],
            )
            torch.testing.assert_close(alone.existence[0], found, rtol=1e-4, atol=1e-5)


def test_other_weights_stay() -> None:
    """The head is drawn last, so a seed gives the rest of the network the same numbers with it as without."""
    torch.manual_seed(1)
    without = FlashVTG(SMALL).state_dict()
    torch.manual_seed(1)
    with_head = FlashVTG(WITH_HEAD).state_dict()
    assert with_head.keys() - without.keys() == {"existence.linear.weight", "existence.linear.bias"}
    for name, value in without.items():
        assert torch.equal(with_head[name], value)


@torch.no_grad()
def test_without_head() -> None:
    output = build(SMALL)(*batch_of([9, 6], [4, 2]), negatives=torch.tensor([0]))
    assert output.existence is None
    assert output.negatives.existence is None


@pytest.mark.parametrize("name", available_configs())
def test_only_our_configurations_have_it(name: str) -> None:
    config = load_config(name)
    assert config.model.existence == (name in OURS)
    assert config.data.dataset != OWN or name in OURS
