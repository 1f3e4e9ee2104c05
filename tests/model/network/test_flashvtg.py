from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.config import ModelConfig
from model.network.flashvtg import FlashVTG, FlashVTGOutput
from model.network.fusion import sinusoidal_positions
from model.rows import append_tef

SMALL = ModelConfig(
    video_dim=12,
    text_dim=9,
    hidden_dim=32,
    heads=4,
    feedforward_dim=48,
    dummies=3,
    dummy_layers=2,
    cross_attention_layers=2,
    encoder_layers=2,
    score_kernel=5,
    score_convolutions=2,
    score_layers=3,
)


def build(config: ModelConfig = SMALL) -> FlashVTG:
    """A model whose weights are large enough that nothing vanishes in rounding."""
    torch.manual_seed(0)
    model = FlashVTG(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
    return model.eval()


def mask_of(lengths: list[int], longest: int) -> Tensor:
    return torch.arange(longest) < torch.tensor(lengths)[:, None]


def batch_of(clips: list[int], words: list[int], extra: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random samples, garbage where padded."""
    generator = torch.Generator().manual_seed(sum(clips) + 31 * sum(words))
    video_mask, text_mask = mask_of(clips, max(clips) + extra), mask_of(words, max(words) + extra)
    video = torch.randn(*video_mask.shape, SMALL.video_dim, generator=generator)
    text = torch.randn(*text_mask.shape, SMALL.text_dim, generator=generator)
    return append_tef(video, video_mask), video_mask, text, text_mask


def assert_same_as_alone(batch: FlashVTGOutput, sample: int, alone: FlashVTGOutput) -> None:
    clips = alone.saliency.shape[1]
    mask = batch.point_mask[sample]
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(batch.saliency[sample, :clips], alone.saliency[0], **close)
    torch.testing.assert_close(batch.engagement[sample, :clips], alone.engagement[0], **close)
    torch.testing.assert_close(batch.points[mask][:, [0, 3]], alone.points[:, [0, 3]])
    torch.testing.assert_close(batch.logits[sample][mask], alone.logits[0], **close)
    torch.testing.assert_close(batch.offsets[sample][mask], alone.offsets[0], **close)
    torch.testing.assert_close(batch.clips[sample, :clips], alone.clips[0], **close)
    torch.testing.assert_close(batch.query[sample], alone.query[0], **close)


@torch.no_grad()
@settings(max_examples=25)
@given(data=st.data(), extra=st.integers(0, 5), training=st.booleans())
def test_padding_changes_nothing(data: st.DataObject, extra: int, training: bool) -> None:
    count = data.draw(st.integers(1, 5))
    clips = data.draw(st.lists(st.integers(1, 23), min_size=count, max_size=count))
    words = data.draw(st.lists(st.integers(1, 6), min_size=count, max_size=count))
    model = build(replace(SMALL, dropout=0.0, input_dropout=0.0, dummy_dropout=0.0)).train(training)
    video, video_mask, text, text_mask = batch_of(clips, words, extra)
    batch = model(video, video_mask, text, text_mask)
    for sample, (length, tokens) in enumerate(zip(clips, words, strict=True)):
        rows = slice(sample, sample + 1)
        alone = model(
            video[rows, :length], video_mask[rows, :length], text[rows, :tokens], text_mask[rows, :tokens]
        )
        assert alone.point_mask.all()
        assert_same_as_alone(batch, sample, alone)


@torch.no_grad()
def test_levels_have_the_points_of_their_stride() -> None:
    output = build()(*batch_of([13, 5], [4, 2]))
    strides = output.points[:, 3].tolist()
    assert [strides.count(stride) for stride in (1, 2, 4, 8)] == [13, 6, 3, 1]
    per_sample = [
        [int(output.point_mask[b, output.points[:, 3] == s].sum()) for s in (1, 2, 4, 8)] for b in (0, 1)
    ]
    assert per_sample == [[13, 6, 3, 1], [5, 2, 1, 0]]
    ranges = {tuple(row) for row in output.points[:, [3, 1, 2]].tolist()}
    assert ranges == {(1, 0, 2), (2, 2, 4), (4, 4, 8), (8, 8, torch.inf)}


@torch.no_grad()
def test_broadcasting_of_videos_and_queries() -> None:
    model = build()
    video, video_mask, text, text_mask = batch_of([9, 6, 7], [4, 2, 3])
    for one_video, one_query in ((True, False), (False, True)):
        v = slice(0, 1) if one_video else slice(None)
        t = slice(0, 1) if one_query else slice(None)
        once = model(video[v], video_mask[v], text[t], text_mask[t])
        index = torch.arange(3)
        vi, ti = index * (not one_video), index * (not one_query)
        many = model(video[vi], video_mask[vi], text[ti], text_mask[ti])
        for entry in fields(FlashVTGOutput):
            if entry.name != "negatives":
                torch.testing.assert_close(
                    getattr(once, entry.name), getattr(many, entry.name), rtol=1e-4, atol=1e-5
                )


@torch.no_grad()
def test_negatives_are_read_under_the_next_query() -> None:
    model = build()
    video, video_mask, text, text_mask = batch_of([9, 6, 7], [4, 2, 3])
    index = torch.tensor([0, 2])
    output = model(video, video_mask, text, text_mask, negatives=index)
    following = torch.tensor([1, 0])
    expected = model(video[index], video_mask[index], text[following], text_mask[following])
    assert output.negatives is not None
    valid = video_mask[index]
    torch.testing.assert_close(
        output.negatives.saliency[valid], expected.saliency[valid], rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        output.negatives.engagement[valid], expected.engagement[valid], rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        output.saliency, model(video, video_mask, text, text_mask).saliency, rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_attention_left_by_dummies() -> None:
    """Fused and written-out attention agree, and a query without words leaves everything to the dummies."""
    model = build(replace(SMALL, dropout=0.0, input_dropout=0.0, dummy_dropout=0.0))
    video, video_mask, text, text_mask = batch_of([9, 6], [4, 2])
    fused = model.eval()(video, video_mask, text, text_mask).engagement
    written_out = model.train()(video, video_mask, text, text_mask).engagement
    torch.testing.assert_close(fused, written_out, rtol=1e-4, atol=1e-5)
    assert ((fused > 0) & (fused < 1)).all()
    silent = model.eval()(video, video_mask, text, torch.zeros_like(text_mask))
    assert (silent.engagement == 0).all()
    assert silent.saliency.isfinite().all()


@torch.no_grad()
def test_without_layering_there_is_one_level() -> None:
    model = build(replace(SMALL, feature_layering=False))
    output = model(*batch_of([9, 6], [4, 2]))
    assert output.points[:, 3].unique().tolist() == [1]
    assert output.logits.shape == (2, 9)


def test_confidence_without_refinement() -> None:
    config = replace(SMALL, score_refinement=False)
    model = build(config)
    assert not any("inter" in name or "balance" in name for name, _ in model.named_parameters())
    refined = build()
    refined.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        refined.refinement.balance.fill_(1.0)
        torch.testing.assert_close(
            model(*batch_of([9, 6], [4, 2])).logits, refined(*batch_of([9, 6], [4, 2])).logits
        )


def test_wrong_channels_are_named() -> None:
    video, video_mask, text, text_mask = batch_of([5], [2])
    with pytest.raises(ValueError, match="video has 12 channels, the model reads 14: 12 of features and 2"):
        build()(video[..., :12], video_mask, text, text_mask)
    with pytest.raises(ValueError, match="text has 8 channels, the model reads 9"):
        build()(video, video_mask, text[..., :8], text_mask)


def test_temporal_endpoint_feature() -> None:
    video = append_tef(torch.zeros(2, 4, 1), mask_of([4, 2], 4))
    expected = [[[0, 0.25], [0.25, 0.5], [0.5, 0.75], [0.75, 1]], [[0, 0.5], [0.5, 1], [0, 0], [0, 0]]]
    torch.testing.assert_close(video[..., 1:], torch.tensor(expected))


def test_positions_run_once_around_the_circle() -> None:
    positions = sinusoidal_positions(mask_of([4, 2], 4), 8)
    quarter = torch.pi / 2
    torch.testing.assert_close(
        positions[0, :, 0], torch.tensor([1, 2, 3, 4]).mul(quarter).sin(), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(positions[0, 1, 1], torch.tensor(torch.pi).cos(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        positions[0, 0, 2], torch.tensor(quarter / 10000**0.25).sin(), atol=1e-5, rtol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
def test_compiled_model_gives_the_same(training: bool) -> None:
    model = build(replace(SMALL, dropout=0.0, input_dropout=0.0, dummy_dropout=0.0)).train(training)
    inputs = batch_of([19, 6], [4, 2])
    with torch.set_grad_enabled(training):
        expected = model(*inputs)
        # The graph is ours; the code that is generated from it, which takes minutes, is torch's.
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")(*inputs)
    torch.testing.assert_close(compiled.saliency, expected.saliency, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(compiled.logits, expected.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(compiled.offsets, expected.offsets, rtol=1e-4, atol=1e-5)
    if training:
        compiled.logits.sum().backward()
        assert all(parameter.grad is not None for parameter in model.refinement.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("training", [False, True])
def test_autocast(dtype: torch.dtype, training: bool) -> None:
    model = build().train(training)
    with torch.autocast("cpu", dtype=dtype):
        output = model(*batch_of([19, 6], [4, 2]), negatives=torch.tensor([0, 1]))
    output.logits.sum().backward()
    for value in (output.saliency, output.engagement, output.logits, output.offsets, output.clips):
        assert value.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
