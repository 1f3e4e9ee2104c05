"""A packed network gives the same outputs as before."""

from __future__ import annotations

import copy

import pytest
import torch

from model.config import load_config
from model.network.fast.packed import pack
from model.network.flashvtg import FlashVTG


@pytest.mark.parametrize("name", ["qvhighlights-slowfast-clip", "charades-sta-slowfast-clip"])
@torch.inference_mode()
def test_packed_network_equals_plain(name: str) -> None:
    config = load_config(name).model
    torch.manual_seed(0)
    plain = FlashVTG(config).eval()
    packed = copy.deepcopy(plain)
    pack(packed)
    for clips, words, batch in ((75, 11, 1), (30, 4, 1), (9, 3, 3)):
        video = torch.randn(batch, clips, config.video_dim + 2)
        text = torch.randn(batch, words, config.text_dim)
        masks = torch.ones(batch, clips, dtype=torch.bool), torch.ones(batch, words, dtype=torch.bool)
        masks[0][-1, clips // 2 :] = False
        expected, found = (network(video, masks[0], text, masks[1]) for network in (plain, packed))
        for field in ("saliency", "engagement", "logits", "offsets"):
            torch.testing.assert_close(getattr(found, field), getattr(expected, field), rtol=1e-4, atol=1e-4)
