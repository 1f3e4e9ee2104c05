"""Videos longer than any of training: a planted moment is found wherever the borders of the windows fall."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from extractors.features import TextFeatures
from model.checkpoints.checkpoint import load_checkpoint
from model.datasets.annotations import Annotation
from model.grounding.encoded import EncodedVideo
from model.grounding.trained import TrainedModel
from model.grounding.windows import split_windows
from tests.model.training.training_setup import LEARNABLE, run_training, small_config, splits

CLIP_S = 2.0
WINDOW_CLIPS = 50  # the videos of the synthetic set have 100 s
LONG_CLIPS = 300
IOU = 0.7


@pytest.fixture(scope="module")
def model(learnable: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        folder = tmp_path_factory.mktemp("long") / "run"
        run_training(small_config(LEARNABLE, "training.epochs=6", "data.max_clips=50"), learnable, folder)
    finally:
        torch.set_num_threads(threads)
    return TrainedModel(
        load_checkpoint(folder / "best.safetensors"), name="small", device=torch.device("cpu")
    )


def planted(
    streams: list[np.ndarray], annotation: Annotation, offset: int
) -> tuple[EncodedVideo, tuple[float, float]]:
    """A long video of what surrounds a moment, with the moment at an offset."""
    ((start_s, end_s),) = annotation.windows_s
    start, end = int(start_s / CLIP_S), int(end_s / CLIP_S)
    features = {}
    for name, stored in zip(("slowfast", "clip"), streams, strict=True):
        rows = stored.astype(np.float32)
        around = np.concatenate([rows[:start], rows[end:]])
        filler = np.resize(around, (LONG_CLIPS, rows.shape[1]))
        features[name] = np.concatenate([filler[:offset], rows[start:end], filler[offset:]])[:LONG_CLIPS]
    where = (offset * CLIP_S, (offset + end - start) * CLIP_S)
    return EncodedVideo(Path("long.mp4"), LONG_CLIPS * CLIP_S, features), where


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_accuracy_at_window_borders(model: TrainedModel, learnable: Path) -> None:
    _, held_out = splits(small_config(LEARNABLE, "data.max_clips=50"), learnable)
    chosen = [
        annotation
        for annotation in held_out.annotations
        if len(annotation.windows_s) == 1 and 6 <= np.diff(annotation.windows_s[0])[0] <= 30
    ][:20]
    assert len(chosen) == 20
    border = split_windows(LONG_CLIPS, WINDOW_CLIPS)[3].end
    hop = WINDOW_CLIPS // 2
    # Steps of three clips meet all places of a point of the coarser levels.
    at_borders = [border + shift for shift in range(-20, 20, 3)]
    in_the_middle = [border - hop + shift for shift in range(-hop // 4, hop // 4, 2)]

    def found(offsets: list[int]) -> float:
        hits = []
        for annotation in chosen:
            streams = held_out.videos.load(annotation.vid)
            tokens = held_out.texts.load(annotation).astype(np.float32)
            query = TextFeatures(tokens, tokens.mean(axis=0))
            for offset in offsets:
                video, (start_s, end_s) = planted(streams, annotation, offset)
                [(moments, saliency)] = model.answer([video], [query], top_k=1)
                assert len(saliency) == LONG_CLIPS
                first_s, last_s, _ = moments[0].tolist()
                shared = max(0.0, min(last_s, end_s) - max(first_s, start_s))
                hits.append(shared / (max(last_s, end_s) - min(first_s, start_s)) >= IOU)
        return float(np.mean(hits))

    middle, borders = found(in_the_middle), found(at_borders)
    print(f"IoU of {IOU} or more: {middle:.0%} in the middle of a window, {borders:.0%} around a border")
    assert middle > 0.75  # without overlaps, six in ten are found at a border
    assert borders >= middle - 0.05
