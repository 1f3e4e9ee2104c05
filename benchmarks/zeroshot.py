"""How well queries are grounded without a trained model, and how rightly "it is not there" is said.

    python benchmarks/zeroshot.py --data charades_clip --split val --text clip_text [--json]
    python benchmarks/zeroshot.py ... --controls --joined 100
    python benchmarks/zeroshot.py --videos FOLDER

`--data` holds `SPLIT.jsonl` (`qid`, `vid`, `duration`, `relevant_windows`), `objects_SPLIT.jsonl` (`qid`, `objects`),
`negatives/SPLIT_KIND.jsonl` and `negatives/objects_SPLIT_KIND.jsonl` for the kinds `in_domain` and `out_of_domain`, and
`clip_features/VID.npz` (`features`, one row per second). `--text` holds `lvis.npz` (`names`, `text`) and
`openimages_unnamed.npz` (`text`), the background. A query's vector is the mean of its objects' vectors.

`--controls` adds what the text alone and the duration alone tell about existence. `--joined N` adds videos that are
joined from several ones, N for each number of moments, and some that last an hour. `--videos FOLDER` asks the `lite`
features about real videos: joined scenes (`lite_scenes.tsv`), and what is there at all (`lite_pairs.tsv`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from extractors.encoders.base import EncoderOptions
from extractors.features import TextFeatures
from model.grounding.encoded import EncodedVideo
from model.grounding.zeroshot.calibration import CLEAR, Calibration, logistic
from model.grounding.zeroshot.method import Findings, ZeroShot
from model.metrics import existence
from model.metrics.existence import auroc, text_only_auroc
from model.metrics.moment_retrieval import MAX_WINDOWS, RECALL_THRESHOLDS, moment_retrieval, temporal_iou
from model.metrics.ragged import Ragged

Array = NDArray[np.float64]

_HERE = Path(__file__).resolve().parent
_KINDS = ("in_domain", "out_of_domain")
_FIXED_SHARE = 0.35
_BEST_OF = 5
_BINS = 10
_JOINED_VIDEOS = 6
_HOUR_VIDEOS = 120
_SCENE_JOINS = 40
_SEED = 0
_NEWTON_STEPS = 50
_RIDGE = 0.1
_LITE_SHARE = 1 / 3  # of what people ask for that is there; 37 % in the data that `clip` is fitted on


@dataclass(frozen=True)
class Asked:
    """A query on a video.

    Attributes:
        video: rows of features, one row per second.
        duration_s: of the video.
        query: (E,) its vector.
        truth_s: (M, 2) where it happens, in seconds; empty where it does not.
    """

    video: str
    duration_s: float
    query: Array
    objects: tuple[str, ...]
    truth_s: Array


class Data:
    """The features, queries and background of a data set.

    Args:
        folder: of the videos.
        text: of the text vectors.
    """

    def __init__(self, folder: Path, text: Path) -> None:
        self._folder = folder
        with np.load(text / "lvis.npz") as file:
            rows = _unit(file["text"].astype(np.float64))
            self._vectors = dict(zip(file["names"].tolist(), rows, strict=True))
        with np.load(text / "openimages_unnamed.npz") as file:
            self.background = file["text"].astype(np.float32)

    def asked(self, split: str, kind: str | None = None) -> list[Asked]:
        """Queries of a split: those that happen, or the negatives of a kind."""
        folder = self._folder if kind is None else self._folder / "negatives"
        name = split if kind is None else f"{split}_{kind}"
        annotations = {row["qid"]: row for row in _lines(folder / f"{name}.jsonl")}
        found = []
        for row in _lines(folder / f"objects_{name}.jsonl"):
            annotation = annotations[row["qid"]]
            objects = tuple(row["objects"])
            query = _unit(np.mean([self._vectors[name] for name in objects], axis=0))
            truth = np.array(annotation["relevant_windows"], dtype=np.float64).reshape(-1, 2)
            found.append(Asked(annotation["vid"], annotation["duration"], query, objects, truth))
        return found

    def vector(self, name: str) -> Array:
        """(E,) the vector of an object's name."""
        return self._vectors[name]

    @cache  # noqa: B019 - one Data lives as long as the command
    def rows(self, video: str) -> NDArray[np.float32]:
        """(N, E) features of a video."""
        with np.load(self._folder / "clip_features" / f"{video}.npz") as file:
            rows: NDArray[np.float32] = file["features"].astype(np.float32)
        return rows

    @cache  # noqa: B019
    def encoded(self, video: str, duration_s: float) -> EncodedVideo:
        """A video as the model sees it."""
        return EncodedVideo(Path(video), duration_s, {"clip": self.rows(video)})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER")
    parser.add_argument("--split", metavar="NAME", default="val")
    parser.add_argument("--text", type=Path, metavar="FOLDER")
    parser.add_argument("--videos", type=Path, metavar="FOLDER")
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--joined", type=int, metavar="N", default=0)
    parser.add_argument("--reliability", action="store_true", help="the diagram behind `ece`")
    parser.add_argument("--fit", action="store_true", help="print the calibration that fits these data")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if (arguments.data is None) != (arguments.text is None) or not (arguments.data or arguments.videos):
        parser.error("give --data and --text, or --videos, or all of them")
    report: dict[str, Any] = {}
    if arguments.fit:
        print(_fit(arguments))
        return
    if arguments.data:
        data = Data(arguments.data, arguments.text)
        model = ZeroShot("clip", 1.0, lambda _: data.background)
        report |= measure(model, data, arguments.split, arguments.controls, arguments.reliability)
        if arguments.joined:
            report |= measure_joined(model, data, arguments.split, arguments.joined)
    if arguments.videos:
        report |= measure_lite(arguments.videos)
    print(json.dumps(report) if arguments.json else "\n".join(_text(report)))


def measure(
    model: ZeroShot, data: Data, split: str, controls: bool = False, reliability: bool = False
) -> dict[str, Any]:
    """Localisation and existence on the queries of a split."""
    present = data.asked(split)
    absent = {kind: data.asked(split, kind) for kind in _KINDS}
    moments = [_answer(model, data, asked) for asked in present]
    scores = _best(moments)
    absent_scores = {kind: _best([_answer(model, data, asked) for asked in absent[kind]]) for kind in _KINDS}
    fixed = [np.array([[0, _FIXED_SHARE * asked.duration_s, 1.0]]) for asked in present]
    truth = [asked.truth_s[:1] for asked in present]
    shown = np.concatenate([np.ones(len(scores)), *(np.zeros(len(absent_scores[kind])) for kind in _KINDS)])
    predicted = np.concatenate([scores, *(absent_scores[kind] for kind in _KINDS)])
    report: dict[str, Any] = {
        "queries": len(present),
        "first": _localisation([rows[:1] for rows in moments], truth),
        f"best_of_{_BEST_OF}": _localisation(
            [_closest(rows[:_BEST_OF], true) for rows, true in zip(moments, truth, strict=True)], truth
        ),
        "fixed_window": _localisation(fixed, truth),
        "found_clear": _clear(scores),
        "existence": {
            kind: {
                "auroc": auroc(scores, absent_scores[kind]),
                "false_clear": _clear(absent_scores[kind]),
            }
            for kind in _KINDS
        },
        "ece": calibration_error(predicted, shown),
    }
    if controls:
        report["controls"] = {
            kind: {
                "text_only": _text_only(present, absent[kind]),
                "duration_only": _either_way(
                    np.array([asked.duration_s for asked in present]),
                    np.array([asked.duration_s for asked in absent[kind]]),
                ),
            }
            for kind in _KINDS
        }
    if reliability:
        report["reliability"] = [
            {"scores": int(count), "mean_score": float(mean), "present": float(share)}
            for count, mean, share in _bins(predicted, shown)
        ]
    return report


def measure_joined(model: ZeroShot, data: Data, split: str, count: int) -> dict[str, Any]:
    """Several moments in one video, and one that lasts an hour: videos one after another, truth kept."""
    random = np.random.default_rng(_SEED)
    present = data.asked(split)
    by_objects: dict[tuple[str, ...], dict[str, Asked]] = defaultdict(dict)
    mentioned: dict[str, set[str]] = defaultdict(set)
    for asked in present:
        by_objects[asked.objects].setdefault(asked.video, asked)
        mentioned[asked.video] |= set(asked.objects)
    report: dict[str, Any] = {}
    for name, moments, videos, number in (
        *((f"{n} of {_JOINED_VIDEOS}", n, _JOINED_VIDEOS, count) for n in range(1, 5)),
        (f"4 of {_HOUR_VIDEOS}", 4, _HOUR_VIDEOS, max(count // 10, 1)),
    ):
        answers, truths, seconds = [], [], 0.0
        usable = [objects for objects, videos_of in by_objects.items() if len(videos_of) >= moments]
        for _ in range(number):
            objects = usable[random.integers(len(usable))]
            others = [video for video, names in mentioned.items() if not names & set(objects)]
            chosen = random.permutation(sorted(by_objects[objects]))[:moments].tolist()
            fillers = random.permutation(others)[: videos - moments].tolist()
            rows, truth = _join(data, random.permutation([*chosen, *fillers]).tolist(), by_objects[objects])
            joined = EncodedVideo(Path("joined"), float(len(rows)), {"clip": rows})
            start_s = time.perf_counter()
            answers.append(_ask(model, joined, by_objects[objects][chosen[0]].query, MAX_WINDOWS))
            seconds += time.perf_counter() - start_s
            truths.append(truth)
        scores = moment_retrieval(_ragged(answers, 3), _ragged(truths, 2))["full"]
        report[name] = {
            "mAP": 100 * float(scores.average_precision.mean()),
            "R1@0.5": 100 * float(scores.recall_at_1[RECALL_THRESHOLDS.index(0.5)]),
            "ms": 1e3 * seconds / number,
        }
    means = [report[f"{n} of {_JOINED_VIDEOS}"]["mAP"] for n in range(1, 5)]
    return {"joined": {"mAP": float(np.mean(means)), **report}}


class Lite:
    """The `lite` features of real videos, by name, and of the example.

    Args:
        folder: of the videos.
    """

    def __init__(self, folder: Path) -> None:
        from model.grounding.grounder import Grounder

        self._folder = folder
        self.grounder = Grounder.load(model="zero-shot", features="lite", offline=True)

    @cache  # noqa: B019
    def encoded(self, name: str) -> EncodedVideo:
        """A video as the model sees it."""
        examples = _HERE.parent / "examples"
        return self.grounder.encode((examples if (examples / name).exists() else self._folder) / name)

    def part(self, name: str, start: int, end: int) -> EncodedVideo:
        """Some seconds of a video."""
        rows = self.encoded(name).features["lite"][start:end]
        return EncodedVideo(Path(name), float(len(rows)), {"lite": rows})


def measure_lite(folder: Path) -> dict[str, Any]:
    """Real videos and the `lite` features: joined scenes, and verdicts on what is there."""
    lite = Lite(folder)
    grounder, encoded = lite.grounder, lite.encoded
    scenes = [(row[0], int(row[1]), int(row[2]), row[3].split("|")) for row in _table("lite_scenes.tsv")]
    random = np.random.default_rng(_SEED)
    overlaps: dict[str, list[float]] = defaultdict(list)
    hits: list[bool] = []
    for _ in range(_SCENE_JOINS):
        parts: list[NDArray[np.float32]] = []
        truth: dict[str, Array] = {}
        at = 0
        for index in random.permutation(len(scenes))[: random.integers(6, len(scenes) + 1)]:
            name, start, end, queries = scenes[index]
            rows = encoded(name).features["lite"][start:end]
            length = int(random.integers(min(3, len(rows)), min(12, len(rows)) + 1))
            first = int(random.integers(len(rows) - length + 1))
            parts.append(rows[first : first + length])
            truth |= {query: np.array([[at, at + length]], dtype=np.float64) for query in queries}
            at += length
        joined = EncodedVideo(Path("joined"), float(at), {"lite": np.concatenate(parts)})
        for result in grounder.ground(joined, list(truth), top_k=1):
            best = np.array([[result.moments[0].start_s, result.moments[0].end_s]])
            overlaps[result.query].append(float(temporal_iou(best[0], truth[result.query])[0]))
            start_s, end_s = truth[result.query][0]
            hits.append(bool(start_s <= best.mean() < end_s))
    kinds: dict[str, list[bool]] = defaultdict(list)
    false_clear: list[bool] = []
    wrong: list[str] = []
    for name, query, verdict, kind in _table("lite_pairs.tsv"):
        (result,) = grounder.ground(encoded(name), query, top_k=1)
        clear = bool(result.clear_match)
        kinds[kind].append(clear == (verdict == "present"))
        if clear != (verdict == "present"):
            wrong.append(f"{name}: {query} {result.moments[0].score:.2f} ({verdict} {kind})")
        if verdict == "absent":
            false_clear.append(clear)
    seen = kinds["object"] + kinds["scene"]
    return {
        "lite_scenes": {
            "questions": len(hits),
            "mIoU": float(np.mean([value for values in overlaps.values() for value in values])),
            "right_scene": float(np.mean(hits)),
            "by_query": {query: float(np.mean(values)) for query, values in overlaps.items()},
        },
        "lite_pairs": {
            "pairs": sum(map(len, kinds.values())),
            "objects_and_scenes_right": float(np.mean(seen)),
            "absent_clear": float(np.mean(false_clear)),
            "by_kind": {kind: [sum(right), len(right)] for kind, right in kinds.items()},
            "wrong": wrong,
        },
    }


def fit_calibration(levels: Array, present: NDArray[np.bool_], share: float | None = None) -> Calibration:
    """Fit a logistic curve.

    Args:
        levels: (Q, 3) best and usual level of each query, and the share of the classes it means.
        present: (Q,) whether it is there.
        share: how often what is asked for is there, if not as often as here.
    """
    here = present.mean()
    share = here if share is None else share
    counts = np.where(present, share / here, (1 - share) / (1 - here))
    inputs = np.column_stack([levels, np.ones(len(levels))])
    weights = np.zeros(inputs.shape[1])
    for _ in range(_NEWTON_STEPS):
        predicted = 1 / (1 + np.exp(-inputs @ weights))
        slope = counts * predicted * (1 - predicted)
        ridge = _RIDGE * np.diag([1.0, 1.0, 1.0, 0.0])
        curvature = (inputs * slope[:, None]).T @ inputs + ridge
        weights -= np.linalg.solve(curvature, inputs.T @ (counts * (predicted - present)) + ridge @ weights)
    return Calibration(*weights.tolist())


def _fit(arguments: argparse.Namespace) -> str:
    """A table of `calibration.toml`, and what each threshold would give."""
    lines = []
    if arguments.data:
        data = Data(arguments.data, arguments.text)
        model = ZeroShot("clip", 1.0, lambda _: data.background)
        kinds = {
            kind: np.array([_levels(model, data, asked) for asked in data.asked(arguments.split, kind)])
            for kind in (None, *_KINDS)
        }
        lines += ["[clip]", *_fitted(kinds[None], {kind: kinds[kind] for kind in _KINDS})]
    if arguments.videos:
        lines += ["[lite]", *_fitted(*_lite_levels(arguments.videos), share=_LITE_SHARE)]
    return "\n".join(lines)


def _lite_levels(folder: Path) -> tuple[Array, dict[str, Array]]:
    """Levels of what scenes show, and of what none shows."""
    from extractors.encoders.registry import load_text_encoder

    lite = Lite(folder)
    model = lite.grounder.model
    assert isinstance(model, ZeroShot)
    encoder = load_text_encoder("lite", EncoderOptions())
    table = _table("lite_fit.tsv")
    words = {query for row in table for query in row[3].split("|")}
    texts = {query: replace(encoder.encode([query])[0], sentence=query) for query in sorted(words)}
    absent = next(row[3].split("|") for row in table if row[0] == "-")
    levels: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
    scenes = [
        (lite.part(name, int(start), int(end)).features["lite"], queries.split("|"))
        for name, start, end, queries in table
        if name != "-"
    ]
    random = np.random.default_rng(_SEED)
    # A scene alone, and as many videos of several: what is absent has more chances to seem there in those.
    groups = [np.array([index]) for index in range(len(scenes))]
    groups += [random.permutation(len(scenes))[: 2 + index % 7] for index in range(len(scenes))]
    for chosen in groups:
        rows = np.concatenate([scenes[index][0] for index in chosen])
        video = EncodedVideo(Path("scenes"), float(len(rows)), {"lite": rows})
        shown = [query for index in chosen for query in scenes[index][1]]
        for query in (*shown, *absent):
            found = model.look(video, texts[query], top_k=MAX_WINDOWS)
            levels[query in shown].append(_first(found))
    return np.array(levels[True]), {"absent": np.array(levels[False])}


def _fitted(present: Array, absent: Mapping[str, Array], share: float | None = None) -> Iterable[str]:
    levels = np.concatenate([present, *absent.values()])
    fitted = fit_calibration(levels, np.arange(len(levels)) < len(present), share)
    yield f"best = {fitted.best:.3f}\nusual = {fitted.usual:.3f}\nshare = {fitted.share:.3f}"
    yield f"offset = {fitted.offset:.3f}"
    for threshold in np.arange(0.5, 0.96, 0.02):
        shares = {
            name: float((logistic(fitted.log_odds(*rows.T)) >= threshold).mean())
            for name, rows in {"present": present, **absent}.items()
        }
        shown = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
        yield f"# from {threshold:.2f}: {shown}"


def _levels(model: ZeroShot, data: Data, asked: Asked) -> tuple[float, float, float]:
    video = data.encoded(asked.video, asked.duration_s)
    return _first(model.look(video, _text_features(asked.query), top_k=MAX_WINDOWS))


def _first(found: Findings) -> tuple[float, float, float]:
    return float(found.best[0]), float(found.usual[0]), float(found.log_share[0])


def calibration_error(scores: Array, shown: Array) -> float:
    """How far scores are from the share that is present, over ten bins of equal width, weighted by their size."""
    return float(sum(count * abs(mean - share) for count, mean, share in _bins(scores, shown)) / len(scores))


def _bins(scores: Array, shown: Array) -> Iterable[tuple[int, float, float]]:
    place = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    for index in np.unique(place):
        inside = place == index
        yield int(inside.sum()), float(scores[inside].mean()), float(shown[inside].mean())


def _answer(model: ZeroShot, data: Data, asked: Asked) -> Array:
    return _ask(model, data.encoded(asked.video, asked.duration_s), asked.query, MAX_WINDOWS)


def _ask(model: ZeroShot, video: EncodedVideo, query: Array, top_k: int) -> Array:
    """(K, 3) moments, best first."""
    ((moments, _),) = model.answer([video], [_text_features(query)], top_k=top_k)
    return moments.astype(np.float64)


def _text_features(query: Array) -> TextFeatures:
    vector = query.astype(np.float32)
    return TextFeatures(vector[None], vector)


def _join(data: Data, videos: Sequence[str], asked: Mapping[str, Asked]) -> tuple[NDArray[np.float32], Array]:
    """Rows of videos one after another, and where the query happens in them."""
    parts, truth, at = [], [], 0
    for video in videos:
        rows = data.rows(video)
        if video in asked:
            truth.append(np.minimum(asked[video].truth_s[:1], len(rows)) + at)
        parts.append(rows)
        at += len(rows)
    kept = [windows for windows in truth if windows[0, 1] > windows[0, 0]]
    return np.concatenate(parts), np.concatenate(kept)


def _localisation(moments: Sequence[Array], truth: Sequence[Array]) -> dict[str, float]:
    scores = moment_retrieval(_ragged(moments, 3), _ragged(truth, 2))["full"]
    recall = {
        f"R1@{threshold}": 100 * float(scores.recall_at_1[RECALL_THRESHOLDS.index(threshold)])
        for threshold in (0.3, 0.5, 0.7)
    }
    return {**recall, "mIoU": 100 * scores.mean_iou}


def _closest(moments: Array, truth: Array) -> Array:
    return moments[[temporal_iou(moments[:, None, :2], truth).max(axis=1).argmax()]]


def _ragged(parts: Sequence[Array], width: int) -> Ragged:
    lengths = np.array([len(part) for part in parts], dtype=np.intp)
    return Ragged(np.concatenate(parts).reshape(-1, width), lengths)


def _best(moments: Sequence[Array]) -> Array:
    return np.array([rows[0, 2] if len(rows) else 0.0 for rows in moments])


def _clear(scores: Array) -> float:
    return float(np.mean(scores >= CLEAR))


def _text_only(present: Sequence[Asked], absent: Sequence[Asked]) -> float | None:
    """What the sentences alone give away."""
    return text_only_auroc(_without_scores(present), _without_scores(absent))


def _without_scores(asked: Sequence[Asked]) -> existence.Asked:
    return existence.Asked(
        np.zeros(len(asked)), np.array([one.query for one in asked]), [one.video for one in asked]
    )


def _either_way(present: Array, absent: Array) -> float:
    value = auroc(present, absent)
    return max(value, 1 - value)


def _unit(rows: Array) -> Array:
    unit: Array = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return unit


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def _table(name: str) -> list[list[str]]:
    lines = (_HERE / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def _text(report: Mapping[str, Any], indent: str = "") -> Iterable[str]:
    for name, value in report.items():
        if isinstance(value, Mapping):
            flat = all(isinstance(item, (int, float)) for item in value.values())
            if flat:
                yield f"{indent}{name:24}" + "  ".join(
                    f"{key} {_number(item)}" for key, item in value.items()
                )
            else:
                yield f"{indent}{name}"
                yield from _text(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            yield f"{indent}{name}"
            for row in value:
                yield indent + "  " + "  ".join(f"{key} {_number(item)}" for key, item in row.items())
        elif isinstance(value, list) and value and isinstance(value[0], str):
            yield f"{indent}{name}"
            yield from (f"{indent}  {line}" for line in value)
        else:
            yield f"{indent}{name:24}{_number(value) if isinstance(value, (int, float)) else value}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}" if abs(value) < 1 else f"{value:.1f}"


if __name__ == "__main__":
    main()
