from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from model.config import ModelConfig
from model.network.fast.layers import FastAttention, FastDropout, FastDropPath, FastFeedForward, speed_up
from model.network.flashvtg import FlashVTG, FlashVTGOutput
from model.network.fusion import SelfAttentionLayer
from model.network.layering import BoundaryHead
from model.network.layers import Attention, DropPath, FeedForward
from model.network.refinement import ScoreHead

SMALL = ModelConfig(
    video_dim=12,
    text_dim=9,
    hidden_dim=32,
    heads=4,
    feedforward_dim=48,
    dummies=3,
    dummy_layers=1,
    cross_attention_layers=2,
    encoder_layers=1,
    score_layers=3,
)


def build_pair(rate: float) -> tuple[FlashVTG, FlashVTG]:
    """A network as it is written, and the fast one with its weights."""
    torch.manual_seed(0)
    config = replace(SMALL, dropout=rate, input_dropout=rate, dummy_dropout=rate)
    plain, fast = FlashVTG(config, fast=False), FlashVTG(config)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(torch.randn_like(parameter) / 5)
    fast.load_state_dict(plain.state_dict())
    return plain, fast


def run(network: FlashVTG) -> FlashVTGOutput:
    """A ragged batch, with negatives."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(19) < torch.tensor([[19], [7], [2]])
    word_mask = torch.arange(5) < torch.tensor([[2], [5], [1]])
    video = torch.randn(3, 19, SMALL.video_dim + 2, generator=generator)
    text = torch.randn(3, 5, SMALL.text_dim, generator=generator)
    return network(video, mask, text, word_mask, negatives=torch.tensor([0, 2]))  # type: ignore[no-any-return]


def results(output: FlashVTGOutput) -> dict[str, torch.Tensor]:
    assert output.negatives is not None
    return {
        "saliency": output.saliency * output.video_mask,
        "engagement": output.engagement * output.video_mask,
        "logits": output.logits * output.point_mask,
        "offsets": output.offsets * output.point_mask[..., None],
        "clips": output.clips,
        "query": output.query,
        "negative saliency": output.negatives.saliency * output.video_mask[output.negatives.index],
    }


@pytest.mark.parametrize("training", [True, False])
def test_network_equals_plain(training: bool) -> None:
    plain, fast = (network.train(training) for network in build_pair(rate=0.0))
    found, expected = results(run(fast)), results(run(plain))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_gradients_equal_plain() -> None:
    gradients = []
    for network in build_pair(rate=0.0):
        sum((value**2).mean() for value in results(run(network.train())).values()).backward()
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
    expected, found = gradients
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert value is not None
        largest = float(value.abs().max())
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4 * largest, msg=name)


def test_dropout_spreads_as_plain() -> None:
    """Of many passes with dropout, the mean and the spread are those of the plain network."""
    moments = []
    for network in build_pair(rate=0.2):
        network.train()
        with torch.no_grad():
            draws = torch.stack([run(network).saliency[0] for _ in range(80)])
        moments.append((draws.mean(), draws.std()))
    (mean, std), (fast_mean, fast_std) = moments
    assert float(fast_std / std) == pytest.approx(1, abs=0.2)
    assert float(abs(fast_mean - mean) / std) < 0.25


def test_speed_up_leaves_no_plain_layer() -> None:
    plain, fast = build_pair(rate=0.1)
    kinds = {type(module) for module in plain.modules()}
    left = {type(module) for module in fast.modules()}
    replaced = {Attention, BoundaryHead, DropPath, FeedForward, ScoreHead, nn.Dropout}
    assert replaced <= kinds
    assert not replaced & left
    assert list(plain.state_dict()) == list(fast.state_dict())


@pytest.mark.parametrize("rows", [1, 511, 1300])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_feedforward_equals_plain(rows: int, precision: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = FastFeedForward(8, 24, rate=0.0)
    with torch.no_grad():
        layer.slope.fill_(-0.3)  # any slope is legal, not only those between 0 and 1
    x = torch.randn(rows, 3, 8, requires_grad=True)
    target = torch.randn(rows, 3, 8)
    near, bound = (1e-5, 1e-4) if precision is torch.float32 else (1e-2, 2e-2)
    with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
        plain, fast = FeedForward.forward(layer, x), layer(x)
        with torch.no_grad():
            without_gradient = layer(x)
    leaves = [x, *layer.parameters()]
    torch.testing.assert_close(fast, plain, rtol=near, atol=near)
    torch.testing.assert_close(without_gradient, plain, rtol=near, atol=near)
    expected = torch.autograd.grad((plain * target).sum(), leaves)
    found = torch.autograd.grad((fast * target).sum(), leaves)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=bound, atol=bound * float(theirs.abs().max()))


def test_feedforward_gradient_of_drawn_dropout() -> None:
    torch.manual_seed(0)
    layer = FastFeedForward(4, 64, rate=0.5).train()
    x = torch.randn(600, 4, requires_grad=True)
    direction = torch.randn_like(x)

    def loss(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return layer(x).double().square().sum()

    (grad,) = torch.autograd.grad(loss(x), x)
    step = 1e-3
    with torch.no_grad():
        slope = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    assert float((grad * direction).sum()) == pytest.approx(float(slope), rel=1e-2)


def test_dropout_mean_and_seed() -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, 1003, requires_grad=True)
    dropout = FastDropout(0.1).train()
    out = dropout(x)
    assert float((out == 0).double().mean()) == pytest.approx(0.1, abs=2e-3)
    assert float(out.detach().double().mean()) == pytest.approx(1.0, abs=2e-3)
    (grad,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(grad, out.detach())
    torch.manual_seed(0)
    torch.testing.assert_close(dropout(x), out)
    torch.testing.assert_close(dropout.eval()(x), x, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [DropPath, FastDropPath])
def test_drop_path_drops_whole_samples(kind: type[DropPath]) -> None:
    torch.manual_seed(0)
    path = kind(0.25).train()
    x = torch.ones(4000, 3)
    out = path(torch.zeros_like(x), lambda rows: rows, x)
    assert ((out == 0).all(dim=1) | (out == 1 / 0.75).all(dim=1)).all()
    assert float(out.mean()) == pytest.approx(1.0, abs=0.03)
    torch.testing.assert_close(path.eval()(x, lambda rows: 2 * rows, x), 3 * x)


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_drop_path_equals_plain(samples: int) -> None:
    torch.manual_seed(0)
    plain = SelfAttentionLayer(ModelConfig(4, 4, hidden_dim=16, heads=4), rate=0.8).train()
    plain.attention.dropout.p = plain.feedforward.dropout.p = 0.0  # only paths are dropped
    fast = copy.deepcopy(plain)
    speed_up(fast)
    x, target = torch.randn(samples, 7, 16, requires_grad=True), torch.randn(samples, 7, 16)
    mask = torch.arange(7) < torch.arange(3, 3 + samples)[:, None]
    dropped: set[int] = set()
    for seed in range(30):
        torch.manual_seed(seed)
        dropped.add(int((torch.rand(samples) < 0.8).sum()))
        torch.manual_seed(seed)
        expected = plain(x, torch.zeros_like(x), mask)
        torch.manual_seed(seed)
        found = fast(x, torch.zeros_like(x), mask)
        torch.testing.assert_close(found, expected)
        # Gradients of zero, not none: weight decay and several processes need them.
        torch.testing.assert_close(
            torch.autograd.grad((found * target).sum(), [x, *fast.parameters()]),
            torch.autograd.grad((expected * target).sum(), [x, *plain.parameters()]),
        )
    assert samples in dropped


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_every_path_dropped(precision: torch.dtype) -> None:
    torch.manual_seed(0)
    rate = 1 - 1e-6
    config = ModelConfig(4, 4, hidden_dim=16, heads=4, feedforward_dim=8, dropout=rate, dummy_dropout=rate)
    network = FlashVTG(config).train()
    mask = torch.ones(1, 9, dtype=torch.bool)
    with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
        output = network(torch.randn(1, 9, 6), mask, torch.randn(1, 9, 4), mask)
    (output.saliency.sum() + output.logits.sum() + output.offsets.sum() + output.query.sum()).backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert [name for name, grad in gradients.items() if grad is None or not grad.isfinite().all()] == []
    assert not gradients["fusion.encoder.layers.0.output.weight"].any()
    assert gradients["fusion.encoder.layers.0.norm1.weight"].any()


def test_attention_with_dropout_averages_to_plain() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 7, 16) for _ in range(3))
    mask = torch.arange(7) < torch.tensor([[7], [3], [1]])
    fast = FastAttention(4, 0.1)
    fused = fast.eval()(query, key, value, mask)
    torch.testing.assert_close(fused, Attention(4, 0.1).eval()(query, key, value, mask))
    fast.train()
    fast.dropout.__class__ = FastDropout
    with_dropout = torch.stack([fast(query, key, value, mask) for _ in range(2000)]).mean(dim=0)
    torch.testing.assert_close(with_dropout, fused, rtol=0, atol=0.05)
    torch.testing.assert_close(fused[2], value[2, :1].expand(7, -1))
