"""A synthetic dataset in the published form of QVHighlights, generated from a seed, for training without a download.

Annotations follow the statistics of QVHighlights' training split, features those of CLIP and SlowFast. A query names a
class with one of its words. The clips of its moments carry that class in proportion to their annotated saliency, and
all other clips carry other classes, so only a model that matches words with clips finds the moments. The share of this
signal in a clip's features decides whether FlashVTG learns it: see `SyntheticSpec.gain`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from extractors.files.atomic import atomic_write

Array = NDArray[np.float32]

_WORDS = """
guitar car dog pasta beach laptop bicycle cake mountain phone horse garden
piano truck cat soup river camera scooter bread forest printer cow flowers
violin bus parrot salad harbour tablet skateboard cookies desert microphone goat orchard
drums tractor hamster noodles lake keyboard surfboard pancakes volcano drone sheep vineyard
trumpet van rabbit pizza island headphones snowboard muffins glacier projector donkey greenhouse
"""
_CLASS_WORDS = tuple(_WORDS.split())  # each belongs to the class of its place, modulo the number of classes
_PHRASES = (  # what comes before and after the class word; most may be left out
    ("A man", "A woman", "A young girl", "Two friends", "A group of people", "Some kids"),
    ("", "", "", "in a red shirt", "with long hair", "wearing sunglasses"),
    ("showing the", "filming the", "looking at the", "talking about the", "standing next to the"),
    ("", "", "outside", "in a small room", "on a sunny day", "in front of a crowd"),
    ("", "", "", "and smiling", "before leaving", "while talking to someone"),
)
_FIRST, _LAST = "<first>", "<last>"  # the tokens around every query
_OTHER_WORDS = sorted({word for place in _PHRASES for phrase in place for word in phrase.lower().split()})

# QVHighlights, training split.
_USUAL_DURATION = 0.9705  # the others last 80 % or more of it
_WINDOW_COUNTS = (0.673, 0.170, 0.065, 0.037, 0.019, 0.036)  # 1 ... 5, and 6 or more: geometric, mean 9
_MOST_WINDOWS = 24
_COVERAGE = ((0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.94, 1), (0.09, 0.095, 0.133, 0.187, 0.307, 0.65, 1, 1))
_GAP_CLIPS = ((0, 0.3, 0.5, 0.75, 0.9, 1), (1, 1, 3, 7, 17, 48))
_BEYOND = (
    0.12  # where moments lie is drawn from [-0.12, 1.12] and clipped, since they do touch the ends of videos
)
_SCORES = (0.032, 0.073, 0.185, 0.307, 0.403)  # 0 ... 4
_ANNOTATORS = 3
_MOST_SALIENT = 4 * _ANNOTATORS
_CUTS_PER_SOURCE = 3  # videos cut from one longer video

# What a clip shows: how strongly it carries each class.
_SCENE_CLIPS = 8.5  # mean length
_SCENE, _SCENE_BEHIND_MOMENT, _FLICKER, _FLICKER_RHO = 0.6, 0.25, 0.05, 0.5
_MOMENT, _SALIENT = 0.55, 0.6  # a moment's share of its class, and what full saliency adds to it

# Features. Parts of a row, whose squares add up to 1: all videos', the video's, the clip's; the last follows its
# predecessor with correlation _RHO.
_SIGNAL_PER_GAIN = 0.0415
_CLIP_PARTS, _CLIP_NORM = (0.837, 0.436, 0.332), (10.44, 0.5)
_SLOWFAST_PARTS, _SLOWFAST_NORM = (0.845, 0.378, 0.378), (15.9, 4.9)
_RHO = 0.26
# Tokens: what all have in common and what sets them apart, which for class words is that of the class and their own.
_TOKEN_PARTS, _CLASS_WORD_PARTS = (0.608, 0.794), (0.8, 0.6)
_TOKEN_NORM, _FIRST_NORM = 24.0, 27.5


@dataclass(frozen=True)
class SyntheticSpec:
    """What a synthetic dataset is made of.

    Attributes:
        train_queries: queries of the training split, each with a video of its own.
        val_queries: queries of the validation split.
        clip_dim: length of a CLIP row.
        slowfast_dim: length of a SlowFast row.
        text_dim: length of a token.
        gain: strength of the signal; at 7, it is about 29 % of the length of a row in a moment.
        classes: how many things queries can ask for.
        seed: the same seed gives the same dataset; a query does not depend on how many follow it.
        duration_s: how long nearly all videos are.
        clip_length_s: seconds a row.
        windows: `single` leaves each query one moment and no saliency, the form of Charades-STA.
        highlights: give each clip the scores of 20 annotators instead, the form of TVSum; the classes are its domains.

    Raises:
        ValueError: if one of them is out of range; the message names it.
    """

    train_queries: int = 800
    val_queries: int = 200
    clip_dim: int = 512
    slowfast_dim: int = 64
    text_dim: int = 512
    gain: float = 7.0
    classes: int = 12
    seed: int = 2024
    duration_s: float = 150.0
    clip_length_s: float = 2.0
    windows: Literal["qvhighlights", "single"] = "qvhighlights"
    highlights: bool = False

    def __post_init__(self) -> None:
        for name in ("train_queries", "val_queries", "clip_dim", "slowfast_dim", "text_dim", "clip_length_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, is {getattr(self, name)}")
        if self.gain < 0 or self.seed < 0:
            raise ValueError(f"gain and seed must not be negative, are {self.gain} and {self.seed}")
        if not 2 <= self.classes <= len(_CLASS_WORDS):
            raise ValueError(f"classes must be 2 to {len(_CLASS_WORDS)}, is {self.classes}")
        if self.duration_s < 16 * self.clip_length_s:
            raise ValueError(
                f"duration_s must be 16 clips of {self.clip_length_s} s or more, is {self.duration_s}"
            )
        if self.windows not in ("qvhighlights", "single"):
            raise ValueError(f"windows must be 'qvhighlights' or 'single', is '{self.windows}'")


def write_synthetic(folder: Path, spec: SyntheticSpec = SyntheticSpec()) -> None:
    """Write a synthetic dataset.

    Files: `train.jsonl` and `val.jsonl`, and in half precision `clip_features/<vid>.npz`,
    `slowfast_features/<vid>.npz` (array `features`, one row per clip) and `clip_text_features/qid<qid>.npz` (array
    `last_hidden_state`, one row per token). With `highlights` a query goes by its video's id, and its tokens lie in
    `clip_text_features/<vid>.npz`. The annotations of a split are written when all its features are there.

    Args:
        folder: where to; made if missing. Files of the same name are replaced.
        spec: what to write.

    Raises:
        OSError: if a file cannot be written.
    """
    world = _World(spec)
    qid = 0
    for split, (name, count) in enumerate((("train", spec.train_queries), ("val", spec.val_queries))):
        lines = []
        for index in range(count):
            row, streams = _draw(world, np.random.default_rng([spec.seed, 1 + split, index]))
            start_s = index % _CUTS_PER_SOURCE * spec.duration_s
            vid = f"{name}{index // _CUTS_PER_SOURCE:05d}_{start_s:.1f}_{start_s + spec.duration_s:.1f}"
            name_of_query = vid if spec.highlights else f"qid{qid}"
            lines.append(json.dumps({"qid": vid if spec.highlights else qid, "vid": vid, **row}))
            _save(folder / "clip_features" / f"{vid}.npz", features=streams["clip"])
            _save(folder / "slowfast_features" / f"{vid}.npz", features=streams["slowfast"])
            _save(folder / "clip_text_features" / f"{name_of_query}.npz", last_hidden_state=streams["text"])
            qid += 1
        with atomic_write(folder / f"{name}.jsonl") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())


class _World:
    """What all queries of a dataset share: how classes look in a video and words in a query."""

    def __init__(self, spec: SyntheticSpec) -> None:
        rng = np.random.default_rng([spec.seed, 0])
        self.spec = spec
        self.clip_classes = _unit(_normal(rng, spec.classes, spec.clip_dim))
        self.slowfast_classes = _unit(_normal(rng, spec.classes, spec.slowfast_dim))
        self.clip_mean = _unit(_normal(rng, spec.clip_dim))
        # CLIP's deviations from its mean fill few directions: 20 of 512 hold 57 % of their energy.
        spectrum = (1 + np.linspace(0, 512 / 17, spec.clip_dim, endpoint=False)) ** -2.0
        self.clip_spectrum = np.sqrt(spectrum / spectrum.sum()).astype(np.float32)
        self.tokens = self._tokens(rng)

    def _tokens(self, rng: np.random.Generator) -> dict[str, Array]:
        dim = self.spec.text_dim
        vocabulary = (*_CLASS_WORDS, *_OTHER_WORDS, _FIRST, _LAST)
        mean, own = _unit(_normal(rng, dim)), _unit(_normal(rng, len(vocabulary), dim))
        classes = _unit(_normal(rng, self.spec.classes, dim))
        place = np.arange(len(_CLASS_WORDS))
        own[place] = _mix(_CLASS_WORD_PARTS, classes[place % self.spec.classes], own[place])
        tokens = dict(zip(vocabulary, _TOKEN_NORM * _unit(_mix(_TOKEN_PARTS, mean, own)), strict=True))
        tokens[_FIRST] *= _FIRST_NORM / _TOKEN_NORM
        return tokens


def _draw(world: _World, rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Array]]:
    """A query: its row without identities, and the rows of its streams."""
    spec = world.spec
    own = int(rng.integers(spec.classes))
    query = _sentence(rng, own, spec.classes)
    clips = int(spec.duration_s / spec.clip_length_s)
    if rng.random() > _USUAL_DURATION:
        clips = int(rng.integers(int(0.8 * clips), clips))
    windows = _windows(rng, clips, single=spec.windows == "single")
    relevant = np.concatenate([np.arange(start, end) for start, end in windows])
    scores = _scores(rng, len(relevant))
    strength = np.zeros(clips, dtype=np.float32)  # (L,) share of the class in each clip
    strength[relevant] = _MOMENT + _SALIENT * scores.sum(axis=1) / _MOST_SALIENT
    shown = _shown(rng, spec.classes, own, strength)
    words = [_FIRST, *query.lower().split(), _LAST]
    streams = {
        "clip": _clip_rows(world, rng, shown),
        "slowfast": _slowfast_rows(world, rng, shown),
        "text": np.stack([world.tokens[word] for word in words]),
    }
    row: dict[str, Any] = {"query": query}
    if spec.highlights:
        row |= {"duration": clips, "relevant_clip_ids": None, "relevant_windows": None}
        return row | {"label": _labels(rng, strength).tolist(), "domain": _CLASS_WORDS[own]}, streams
    seconds = (windows * spec.clip_length_s).tolist()
    row |= {"duration": _plain(clips * spec.clip_length_s)}
    row |= {"relevant_windows": [[_plain(edge) for edge in window] for window in seconds]}
    if spec.windows == "qvhighlights":
        row |= {"relevant_clip_ids": relevant.tolist(), "saliency_scores": scores.tolist()}
    return row, streams


def _sentence(rng: np.random.Generator, own: int, classes: int) -> str:
    words = _CLASS_WORDS[own::classes]
    parts = [options[rng.integers(len(options))] for options in (*_PHRASES[:3], words, *_PHRASES[3:])]
    return " ".join(part for part in parts if part)


def _windows(rng: np.random.Generator, clips: int, *, single: bool) -> NDArray[np.int64]:
    """(N, 2) first clip and the one after the last, in order, with a clip or more between windows."""
    count = 1 if single else 1 + int(rng.choice(len(_WINDOW_COUNTS), p=_WINDOW_COUNTS))
    if count == len(_WINDOW_COUNTS):
        count += int(rng.geometric(0.25)) - 1
    count = min(count, _MOST_WINDOWS, clips // 4)
    covered = round(clips * float(np.interp(rng.random(), *_COVERAGE))) + 2 * (count - 1)
    covered = min(max(covered, count), clips - (count - 1))
    cuts = np.sort(rng.choice(covered - 1, count - 1, replace=False)) + 1
    lengths = np.diff(cuts, prepend=0, append=covered)
    gaps = np.rint(np.interp(rng.random(count - 1), *_GAP_CLIPS)).astype(np.int64)
    spare = clips - covered - (count - 1)  # clips left when every gap is one clip
    if (gaps - 1).sum() > spare:
        gaps = 1 + (gaps - 1) * spare // (gaps - 1).sum()
    free = clips - covered - int(gaps.sum())
    position = np.clip(rng.uniform(-_BEYOND, 1 + _BEYOND), 0, 1)
    starts = round(float(position) * free) + np.cumsum(np.append(0, lengths[:-1] + gaps))
    return np.stack([starts, starts + lengths], axis=1)


def _scores(rng: np.random.Generator, clips: int) -> NDArray[np.int64]:
    """(clips, 3) scores 0 ... 4: annotators differ much in how they like a query, and agree little on its clips."""
    shared, own = rng.standard_normal(), rng.standard_normal(_ANNOTATORS)
    of_query = _mix((0.469, 0.883), shared, own)  # (3,)
    drift = _correlated(rng, clips, 1 + _ANNOTATORS, 0.65)
    of_clip = _mix((0.447, 0.894), drift[:, :1], drift[:, 1:])  # (clips, 3)
    liking = _mix((0.686, 0.728), of_query, of_clip)
    thresholds = [NormalDist().inv_cdf(share) for share in np.cumsum(_SCORES)[:-1]]
    scores: NDArray[np.int64] = np.searchsorted(thresholds, liking)
    return scores


def _labels(rng: np.random.Generator, strength: Array) -> NDArray[np.int64]:
    """(L, 20) scores 1 ... 5 of annotators who see all clips."""
    noise = rng.normal(0, 0.5, 20) + rng.normal(0, 1, (len(strength), 20))
    liking = 1 + 4 * strength[:, None] / (_MOMENT + _SALIENT) + noise
    return np.clip(np.rint(liking), 1, 5).astype(np.int64)


def _shown(rng: np.random.Generator, classes: int, own: int, strength: Array) -> Array:
    """(L, C) classes in each clip: scenes of others, and the query's own where it has a moment."""
    clips = np.arange(len(strength))
    scene = np.cumsum(rng.random(len(clips)) < 1 / _SCENE_CLIPS)  # (L,)
    other = (own + rng.integers(1, classes, size=scene[-1] + 1)) % classes
    shown = _FLICKER * _correlated(rng, len(clips), classes, _FLICKER_RHO)
    shown[clips, other[scene]] += np.where(strength > 0, np.float32(_SCENE_BEHIND_MOMENT), np.float32(_SCENE))
    shown[:, own] += strength
    return shown


def _clip_rows(world: _World, rng: np.random.Generator, shown: Array) -> Array:
    dim = world.spec.clip_dim
    parts = _normal(rng, dim), _correlated(rng, len(shown), dim, _RHO)
    deviation = _hartley(_mix(_CLIP_PARTS[1:], *parts) * world.clip_spectrum)
    rows = _CLIP_PARTS[0] * world.clip_mean + deviation + _signal(world, shown, world.clip_classes)
    return _scaled(rng, rows, _CLIP_NORM)


def _slowfast_rows(world: _World, rng: np.random.Generator, shown: Array) -> Array:
    dim = world.spec.slowfast_dim
    parts = np.ones(dim, np.float32), _normal(rng, dim), _correlated(rng, len(shown), dim, _RHO)
    rows = _mix(_SLOWFAST_PARTS, *parts) / math.sqrt(dim) + _signal(world, shown, world.slowfast_classes)
    return _scaled(rng, np.maximum(rows, 0), _SLOWFAST_NORM)  # pooled after a rectifier, so never negative


def _signal(world: _World, shown: Array, classes: Array) -> Array:
    # Not a product of matrices: what BLAS sums depends, in the last bit, on the machine and its threads.
    signal: Array = np.einsum("lc,cd->ld", shown, classes)
    return np.float32(world.spec.gain * _SIGNAL_PER_GAIN) * signal


def _hartley(rows: Array) -> Array:
    """Rotate rows so that every channel holds a part of every entry."""
    transformed = np.fft.fft(rows, norm="ortho")
    return (transformed.real - transformed.imag).astype(np.float32)


def _scaled(rng: np.random.Generator, rows: Array, norm: tuple[float, float]) -> Array:
    mean, deviation = norm
    lengths = np.maximum(mean + deviation * _normal(rng, len(rows), 1), mean / 4)
    scaled: Array = lengths * _unit(rows)
    return scaled


def _correlated(rng: np.random.Generator, steps: int, width: int, rho: float) -> Array:
    """(steps, width) unit normal noise, each row correlated with the next by rho."""
    noise = _normal(rng, steps, width)
    noise[1:] *= math.sqrt(1 - rho**2)
    for step in range(1, steps):
        noise[step] += rho * noise[step - 1]
    return noise


def _mix(weights: tuple[float, ...], *parts: Any) -> Any:
    return sum(weight * part for weight, part in zip(weights, parts, strict=True))


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape, dtype=np.float32)


def _unit(rows: Array) -> Array:
    lengths = np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), np.float32(1e-6))
    unit: Array = (rows / lengths).astype(np.float32, copy=False)
    return unit


def _plain(seconds: float) -> float:
    """A whole number without its decimal point, as the published files write it."""
    return int(seconds) if seconds == int(seconds) else seconds


def _save(path: Path, **arrays: Array) -> None:
    halves: dict[str, Any] = {key: array.astype(np.float16) for key, array in arrays.items()}
    with atomic_write(path) as file:
        np.savez(file, **halves)
