from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from model.config import ModelConfig
from model.network.flashvtg import FlashVTG
from model.network.fusion import SelfAttentionLayer
from model.network.layers import DropPath, FeedForward, attend, dropout, split_heads


@pytest.mark.parametrize("rows", [1, 511, 1300])
def test_feedforward_in_blocks_equals_the_plain_one(rows: int) -> None:
    torch.manual_seed(0)
    layer = FeedForward(8, 24, rate=0.0)
    with torch.no_grad():
        layer.slope.fill_(-0.3)  # any slope is legal, not only those between 0 and 1
    x = torch.randn(rows, 3, 8, requires_grad=True)
    target = torch.randn(rows, 3, 8)
    plain = F.linear(
        F.prelu(F.linear(x, layer.expand.weight, layer.expand.bias), layer.slope),
        layer.contract.weight,
        layer.contract.bias,
    )
    leaves = [x, *layer.parameters()]
    expected = torch.autograd.grad((plain * target).sum(), leaves)
    found = torch.autograd.grad((layer(x) * target).sum(), leaves)
    torch.testing.assert_close(layer(x), plain, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), plain, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_feedforward_gradient_goes_through_the_dropout_that_was_drawn() -> None:
    torch.manual_seed(0)
    layer = FeedForward(4, 64, rate=0.5).train()
    x = torch.randn(600, 4, requires_grad=True)
    direction = torch.randn_like(x)

    def run(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return layer(x).double().square().sum()

    (grad,) = torch.autograd.grad(run(x), x)
    step = 1e-3
    with torch.no_grad():
        slope = (run(x + step * direction) - run(x - step * direction)) / (2 * step)
    assert float((grad * direction).sum()) == pytest.approx(float(slope), rel=1e-2)


def test_dropout_keeps_the_mean_and_follows_the_seed() -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, 1003, requires_grad=True)
    out = dropout(x, 0.1, training=True)
    assert float((out == 0).double().mean()) == pytest.approx(0.1, abs=2e-3)
    assert float(out.double().mean()) == pytest.approx(1.0, abs=2e-3)
    (grad,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(grad, out.detach())
    torch.manual_seed(0)
    torch.testing.assert_close(dropout(x, 0.1, training=True), out)
    assert dropout(x, 0.1, training=False) is x


def test_dropped_paths_are_whole_samples_and_the_mean_stays() -> None:
    torch.manual_seed(0)
    path = DropPath(0.25).train()
    x = torch.ones(4000, 3)
    out = path(torch.zeros_like(x), lambda rows: rows, x)
    assert ((out == 0).all(dim=1) | (out == 1 / 0.75).all(dim=1)).all()
    assert float(out.mean()) == pytest.approx(1.0, abs=0.03)
    torch.testing.assert_close(path.eval()(x, lambda rows: 2 * rows, x), 3 * x)


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_dropped_paths_equal_the_plain_formula(samples: int) -> None:
    torch.manual_seed(0)
    layer = SelfAttentionLayer(ModelConfig(4, 4, hidden_dim=16, heads=4), rate=0.8).train()
    layer.rate = 0.0  # only paths are dropped
    layer.feedforward.rate = 0.0
    x, target = torch.randn(samples, 7, 16, requires_grad=True), torch.randn(samples, 7, 16)
    mask = torch.arange(7) < torch.arange(3, 3 + samples)[:, None]
    leaves = [x, *layer.parameters()]

    def plain(x: torch.Tensor) -> torch.Tensor:
        """Every branch is run on every sample, as on a GPU."""
        first, second = ((torch.rand(samples) >= 0.8)[:, None, None] / (1 - 0.8) for _ in range(2))
        x = layer.norm1(x + first * layer._attend(x, x, mask, outputs=None))
        return layer.norm2(x + second * layer.feedforward(x))

    dropped: set[int] = set()
    for seed in range(30):
        torch.manual_seed(seed)
        dropped.add(int((torch.rand(samples) < 0.8).sum()))
        torch.manual_seed(seed)
        expected = plain(x)
        torch.manual_seed(seed)
        found = layer(x, torch.zeros_like(x), mask)
        torch.testing.assert_close(found, expected)
        # Gradients of zero, not none: weight decay and several processes need them.
        torch.testing.assert_close(
            torch.autograd.grad((found * target).sum(), leaves),
            torch.autograd.grad((expected * target).sum(), leaves),
        )
    assert samples in dropped


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_network_may_drop_every_path_of_its_batch(precision: torch.dtype) -> None:
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


def test_attention_written_out_equals_the_fused_one() -> None:
    torch.manual_seed(0)
    query, key, value = (split_heads(torch.randn(3, 7, 16), 4) for _ in range(3))
    mask = torch.arange(7) < torch.tensor([[7], [3], [1]])
    fused = attend(query, key, value, mask)
    with_dropout = torch.stack(
        [attend(query, key, value, mask, 0.1, training=True) for _ in range(2000)]
    ).mean(dim=0)
    torch.testing.assert_close(with_dropout, fused, rtol=0, atol=0.05)
    torch.testing.assert_close(fused[2, :, 0], value[2, :, 0])
