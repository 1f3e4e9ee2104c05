"""Pseudo-labels: moments that zero-shot grounding finds in unlabelled videos, with queries to train on.

Out of many concepts, a video gets those that it shows more clearly than the other videos do. The moment of
each is the one that zero-shot grounding finds, and its sentence is made from a template. The idea is from
UniVTG (Lin et al., ICCV 2023), which labels clips by their similarity to concepts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from extractors.features import TextFeatures
from model.grounding.encoded import EncodedVideo
from model.grounding.zeroshot.method import Targets, ZeroShot
from model.training.pretraining.concepts import with_article


@dataclass(frozen=True)
class PseudoLabel:
    """A moment that zero-shot grounding found.

    Attributes:
        vid: id of the video.
        query: a sentence about the moment.
        start_s, end_s: the moment in seconds.
        duration_s: length of the video in seconds.
    """

    vid: str
    query: str
    start_s: float
    end_s: float
    duration_s: float

    def row(self, qid: str) -> dict[str, Any]:
        """Return a row of an annotation file."""
        return {
            "qid": qid,
            "query": self.query,
            "vid": self.vid,
            "duration": self.duration_s,
            "relevant_windows": [[self.start_s, self.end_s]],
        }


def pseudo_labels(
    teacher: ZeroShot,
    vids: Sequence[str],
    video_of: Callable[[str], EncodedVideo],
    concepts: Sequence[TextFeatures],
    *,
    per_video: int,
    templates: Sequence[str],
    seed: int,
) -> list[PseudoLabel]:
    """Label videos.

    Args:
        teacher: the model that looks for the concepts.
        vids: ids of the videos.
        video_of: returns a video with its rows; called twice per video, so that not all need to be in memory.
        concepts: their names as `sentence`, and their pooled rows in the teacher's space.
        per_video: maximum number of labels per video.
        templates: sentences with `{}` for a name with its article; one of them is drawn for each label.
        seed: seed of the draw.

    Returns:
        labels in the order of the videos. A moment as long as its video teaches nothing and is left out, so a
        video may have fewer than `per_video` labels.
    """
    if not vids:
        return []
    targets = teacher.targets(concepts)
    shown = np.stack([teacher.shown(video_of(vid), targets) for vid in vids])  # (V, C)
    # As if there were one more video, which shows nothing; so a single video gets its clearest concepts.
    usual = shown.sum(axis=0) / (len(vids) + 1)
    rng = np.random.default_rng(seed)
    labels = []
    for vid, levels in zip(vids, shown, strict=True):
        video = video_of(vid)
        found = 0
        for place in np.argsort(usual - levels, kind="stable"):
            if found == per_video:
                break
            moment_s = _moment_s(teacher, video, targets, int(place))
            if moment_s is not None:
                template = templates[int(rng.integers(len(templates)))]
                sentence = template.format(with_article(concepts[place].sentence))
                labels.append(PseudoLabel(vid, sentence, *moment_s, video.duration_s))
                found += 1
    return labels


def _moment_s(
    teacher: ZeroShot, video: EncodedVideo, targets: Targets, place: int
) -> tuple[float, float] | None:
    """Return the best moment of a target in seconds; None if it covers the whole video."""
    span = teacher.look_for(video, targets, place, top_k=1).spans[0]
    if span.end - span.start == len(video.features[teacher.features[0]]):
        return None
    start_s, end_s = span.start * teacher.clip_length_s, span.end * teacher.clip_length_s
    return (start_s, min(end_s, video.duration_s)) if start_s < video.duration_s else None
