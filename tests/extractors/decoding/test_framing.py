"""Frames of other sizes than 224, squashed ones, and encoders that want different frames of one video."""

from __future__ import annotations

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from extractors.cache.store import FeatureCache
from extractors.decoding.clip_reader import ClipReader, DecodingOptions
from extractors.decoding.frames import Framing
from extractors.decoding.grid import Sampling
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import extract_features
from extractors.features import FeatureSpec
from tests.extractors.rendering import render

WIDE = {"width": 320, "height": 128}


class PixelEncoder:
    """A row holds the size of the frame and the mean of each of its quarters."""

    batch_size = 4
    shares_batches = False

    def __init__(self, name: str, framing: Framing, clip_length_s: float = 2.0) -> None:
        self.spec = FeatureSpec(name, 5, clip_length_s)
        self.sampling = Sampling("center_frame", clip_length_s, framing)

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        half = clips.shape[2] // 2
        quarters = [clips[:, 0, y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
        means = [quarter.reshape(len(clips), -1).mean(axis=1) for quarter in quarters]
        return np.stack([np.full(len(clips), clips.shape[2]), *means], axis=1).astype(np.float32)


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize("framing", [Framing(256), Framing(96, "squash"), Framing(336, "squash")], ids=str)
def test_framings(tmp_path, decoder, framing):
    path = render(tmp_path / "v.mp4", frames=40, fps=10, **WIDE)
    with ClipReader(path, [Sampling("center_frame", 2.0, framing)], DecodingOptions(decoder)) as reader:
        clips = np.concatenate([chunk.frames[chunk.rows[0]] for chunk in reader])
    assert clips.shape == (2, 1, framing.size, framing.size, 3)
    with av.open(str(path)) as container:
        whole = list(container.decode(video=0))[9]
    size = framing.size
    wide = size if framing.fit == "squash" else 320 * size // 128
    scaled = whole.reformat(wide, size, "rgb24", interpolation="BICUBIC").to_ndarray()
    left = (wide - size) // 2
    assert np.abs(clips[0, 0].astype(int) - scaled[:, left : left + size].astype(int)).mean() < 4


def test_one_framing_per_reader(tmp_path):
    path = render(tmp_path / "v.mp4", frames=20, fps=10)
    with pytest.raises(ValueError, match="one framing"):
        ClipReader(path, [Sampling("center_frame", 2.0), Sampling("center_frame", 2.0, Framing(96))])


@pytest.mark.parametrize("stall_s", [None, 60.0], ids=["here", "subprocess"])
def test_several_framings_at_once(tmp_path, stall_s):
    path = render(tmp_path / "v.mp4", frames=250, fps=10, **WIDE)
    makers = [
        lambda: PixelEncoder("a", Framing()),
        lambda: PixelEncoder("b", Framing(96, "squash"), 1.0),
        lambda: PixelEncoder("c", Framing(), 1.0),
    ]
    options = ExtractionOptions(stall_s=stall_s)
    together = FeatureCache(tmp_path / "together")
    assert extract_features([path], [make() for make in makers], together, options).extracted == 1
    for make in makers:
        alone = FeatureCache(tmp_path / make().spec.name)
        assert extract_features([path], [make()], alone, options).extracted == 1
        rows = [cache.load_video(path, make().spec).features for cache in (together, alone)]
        assert np.array_equal(*rows)
        assert len(rows[0]) == round(25 / make().spec.clip_length_s + 1e-9)
        assert set(rows[0][:, 0]) == {make().sampling.framing.size}
