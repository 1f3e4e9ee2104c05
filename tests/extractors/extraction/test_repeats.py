"""Clips with exactly the same frames are encoded once, with the same rows as if each had been encoded."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from extractors.cache.store import FeatureCache
from extractors.decoding.clip_reader import ClipReader, DecodingOptions
from extractors.decoding.grid import Sampling
from extractors.encoders.base import EncoderOptions
from extractors.encoders.lite.encoder import LiteVideoEncoder
from extractors.errors import VideoError
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import encode_video
from extractors.extraction.repeats import Runs
from extractors.videos.events import VideoProgress
from tests.extractors.index_encoder import IndexEncoder
from tests.extractors.rendering import draw_frame, render


def expected_rows(path: Path, encoder: IndexEncoder | LiteVideoEncoder) -> NDArray[np.float32]:
    """Every clip encoded, none left out, in half precision as the cache has it."""
    with ClipReader(path, [encoder.sampling]) as reader:
        rows = np.concatenate([encoder.encode(chunk.frames[chunk.rows[0]]) for chunk in reader])
    return rows.astype(np.float16).astype(np.float32)


def slides(path: Path, shown: list[int], *, seconds: int = 3, fps: int = 10) -> Path:
    """A lossless video of stills, each for some seconds; its decoded frames are equal to the last bit."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        for position in range(len(shown) * seconds * fps):
            picture = draw_frame(shown[position // (seconds * fps)], 160, 128)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = position, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_runs_are_counted_across_stretches():
    pictures = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    runs = Runs()
    # Two frames a clip. A clip that moves is only equal to one of the same frames.
    assert runs.add(pictures[:4], np.array([[0, 1], [0, 1], [1, 2], [3, 3]])).tolist() == [
        [0, 1],
        [1, 2],
        [3, 3],
    ]
    # Frames 0, 2 and 3 show what the last clip showed.
    again = pictures[[3, 1, 3, 3, 5]]
    assert runs.add(again, np.array([[0, 0], [2, 3], [1, 1], [3, 2]])).tolist() == [[1, 1], [3, 2]]
    assert runs.add(again, np.array([[3, 3]])).tolist() == []
    assert runs.add(again, np.zeros((0, 2), np.int64)).tolist() == []
    assert runs.add(again, np.array([[4, 4], [3, 3], [4, 4]])).tolist() == [[4, 4], [3, 3], [4, 4]]
    assert list(runs.lengths) == [2, 1, 3, 1, 2, 1, 1, 1]


@pytest.mark.parametrize("chunk_s", [2.0, 10.0])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_rows_of_stills_are_those_of_their_clips(tmp_path, chunk_s, batch_size):
    # Frames at 0 s, 21 s, 22 s, ... 29 s, 61 s: most clips see the one before them again.
    times_s = [0.0, *range(21, 30), 61.0]
    path = render(tmp_path / "v.mp4", times_s=times_s, fps=1, width=160, height=128)
    centre = IndexEncoder(batch_size=batch_size)
    motion = IndexEncoder("motion", kind="slowfast", batch_size=batch_size)
    done_s: list[float] = []
    features = encode_video(
        path,
        [centre, motion],
        FeatureCache(tmp_path / "cache"),
        options=ExtractionOptions(chunk_s=chunk_s),
        on_event=lambda event: done_s.append(event.done_s) if isinstance(event, VideoProgress) else None,
    )
    for encoder in (centre, motion):
        encoded = sum(encoder.batches)
        rows = features[encoder.spec.name].features
        np.testing.assert_array_equal(rows, expected_rows(path, encoder))
        distinct = 1 + int((rows[1:] != rows[:-1]).any(axis=1).sum())
        assert encoded == distinct < len(rows) / 2
    assert done_s == sorted(done_s)
    assert done_s[-1] == pytest.approx(features["index"].info.duration_s)


def test_slides_are_encoded_once_each(tmp_path):
    path = slides(tmp_path / "v.mkv", [5, 9, 9, 2, 5])
    encoder = IndexEncoder("motion", kind="slowfast")
    features = encode_video(path, [encoder], FeatureCache(tmp_path / "cache"))["motion"].features
    np.testing.assert_array_equal(features, expected_rows(path, IndexEncoder("motion", kind="slowfast")))
    # 5, half 5 and half 9, 9, 9, half 9 and half 2, 2, 5, 5: a clip has 2 s.
    assert (sum(encoder.batches), len(features)) == (6, 8)


def test_lite_rows_of_stills_are_those_of_their_clips(tmp_path):
    # 12 clips of 8 pictures. On some processors, a row's last bit depends on its place in the batch.
    path = slides(tmp_path / "v.mkv", [1, 2, 2, 7, 8, 8, 4, 3, 6, 6, 6, 9], seconds=1)
    encoder = LiteVideoEncoder(EncoderOptions(clip_length_s=1.0, device="cpu"))
    features = encode_video(path, [encoder], FeatureCache(tmp_path / "cache"))["lite"].features
    found, expected = (rows.astype(np.float16) for rows in (features, expected_rows(path, encoder)))
    np.testing.assert_array_max_ulp(found, expected, maxulp=1)


def test_cost_depends_on_frames(tmp_path):
    path = render(
        tmp_path / "v.mp4", times_s=np.linspace(0, 80_000, 40).tolist(), fps=1, width=160, height=128
    )
    encoder = IndexEncoder(batch_size=4)
    features = encode_video(path, [encoder], FeatureCache(tmp_path / "cache"))["index"].features
    assert len(features) == pytest.approx(41_000, abs=100)
    assert sum(encoder.batches) == 40
    assert np.unique(features).tolist() == list(range(40))
    with ClipReader(path, [encoder.sampling]) as reader:
        assert sum(1 for _ in reader) == 40


def test_chunks_of_moving_pictures_stay_short(tmp_path):
    path = render(tmp_path / "v.mp4", frames=450, fps=10, width=160, height=128)
    with ClipReader(path, [Sampling("slowfast", 2.0)], DecodingOptions(chunk_s=10.0)) as reader:
        assert [len(chunk.rows[0]) for chunk in reader] == [5, 5, 5, 5, 3]


def test_days_are_refused_early(tmp_path):
    frames = [600.0 * number for number in range(2_000)]
    path = render(tmp_path / "v.mp4", times_s=frames, fps=1, width=32, height=32)
    cache = FeatureCache(tmp_path / "cache")
    with pytest.raises(
        VideoError, match=r"lasts 13\.9 days, too long for clips of 0\.5 s; cut it into parts"
    ):
        ClipReader(path, [Sampling("center_frame", 0.5)])
    wide = IndexEncoder("wide")
    wide.spec = replace(wide.spec, dim=1024)
    with pytest.raises(VideoError, match=r"lasts 333\.\d hours, of which 'wide' features would take 2\.5 GB"):
        encode_video(path, [wide], cache)
    assert wide.batches == []
