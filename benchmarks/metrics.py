"""Time the metrics of QVHighlights against the same metrics in plain loops.

    python benchmarks/metrics.py [--queries 1550] [--rounds 3]

Random predictions and annotations of the size of QVHighlights' validation split: ten moments and 75 clips per query,
moment retrieval and highlight detection. The two run in turn, so that a busy machine slows both, and must agree on
every number. The published evaluator takes 5.4 to 5.7 s with eight processes on an idle 2-core machine, and 9.8 s with
one process on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.metrics.files import read_rows
from model.metrics.report import evaluate

_RANGES = {"full": (-1, 1e9), "long": (30, 150), "middle": (10, 30), "short": (0, 10)}
_LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}
_CLIPS = 75

Row = dict[str, Any]


def main() -> None:
    """Print seconds of each turn and the ratio of the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=1550)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    predictions, annotations = _random_rows(arguments.queries)
    print(
        f"{arguments.queries} queries, Python {platform.python_version()}, numpy {np.__version__}, "
        f"{platform.processor() or platform.machine()}"
    )

    with tempfile.TemporaryDirectory() as folder:
        files = [_write(Path(folder) / "p.jsonl", predictions), _write(Path(folder) / "a.jsonl", annotations)]
        read_s, _ = _timed(lambda: [read_rows(file) for file in files])
    times: dict[str, list[float]] = {"vectorised": [], "loops": []}
    for _ in range(arguments.rounds):
        seconds, report = _timed(lambda: evaluate(predictions, annotations))
        times["vectorised"].append(seconds)
        seconds, expected = _timed(lambda: _evaluate_in_loops(predictions, annotations))
        times["loops"].append(seconds)
        if report.brief != expected:
            sys.exit(f"the two disagree:\n{report.brief}\n{expected}")
    for name, turns in times.items():
        print(f"{name:12}{statistics.median(turns):8.3f} s   turns: {' '.join(f'{s:.3f}' for s in turns)}")
    print(f"{'ratio':12}{statistics.median(times['loops']) / statistics.median(times['vectorised']):8.1f}")
    print(f"{'reading':12}{read_s:8.3f} s   both files, JSON lines, beside the above")


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def _write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _random_rows(count: int) -> tuple[list[Row], list[Row]]:
    """Moments of whole clips, most of them one a query; predictions around them and elsewhere."""
    random = np.random.default_rng(0)
    predictions, annotations = [], []
    for qid in range(count):
        cuts = np.sort(random.choice(_CLIPS + 1, 2 * min(1 + int(random.geometric(0.6)), 12), replace=False))
        moments = cuts.reshape(-1, 2) * 2
        relevant = sorted({clip for start, end in moments for clip in range(start // 2, end // 2)})
        centres = moments[random.integers(0, len(moments), 10)] + random.normal(0, 6, (10, 2))
        windows = np.sort(np.clip(centres, 0, 150), axis=1).round(2)
        scores = np.sort(random.random(10))[::-1].round(4)
        curve = random.normal(size=_CLIPS)
        curve[relevant] += 1
        annotations.append(
            {
                "qid": qid,
                "duration": 150,
                "relevant_windows": moments.tolist(),
                "relevant_clip_ids": relevant,
                "saliency_scores": random.integers(0, 5, (len(relevant), 3)).tolist(),
            }
        )
        predictions.append(
            {
                "qid": qid,
                "pred_relevant_windows": np.column_stack([windows, scores]).tolist(),
                "pred_saliency_scores": curve.round(2).tolist(),
            }
        )
    return predictions, annotations


def _evaluate_in_loops(predictions: list[Row], annotations: list[Row]) -> dict[str, float]:
    """The published keys, one query, window, moment and threshold after another."""
    by_qid = {row["qid"]: row for row in predictions}
    scores: dict[str, float] = {}
    for name, (low, high) in _RANGES.items():
        precisions: list[list[float]] = []
        ious = []
        for row in annotations:
            moments = [m for m in row["relevant_windows"] if low < m[1] - m[0] <= high]
            if moments:
                windows = by_qid[row["qid"]]["pred_relevant_windows"]
                precisions.append([_average_precision(windows[:10], moments, k / 20) for k in range(10, 20)])
                ious.append(max(_iou(windows[0], moment) for moment in moments))
        at = [sum(column) / len(column) for column in zip(*precisions, strict=True)] or [0.0] * 10
        scores[f"MR-{name}-mAP"] = sum(at) / len(at)
        if name == "full":
            scores |= {
                "MR-full-mAP@0.5": at[0],
                "MR-full-mAP@0.75": at[5],
                "MR-full-mIoU": sum(ious) / len(ious),
            }
            for level in (0.3, 0.5, 0.7):
                scores[f"MR-full-R1@{level}"] = sum(iou >= level for iou in ious) / len(ious)
    for name, least in _LEVELS.items():
        precision, hits = 0.0, 0
        for row in annotations:
            curve = by_qid[row["qid"]]["pred_saliency_scores"]
            labels = [[0, 0, 0] for _ in range(int(row["duration"] / 2))]
            for clip, given in zip(row["relevant_clip_ids"], row["saliency_scores"], strict=True):
                labels[clip] = given
            hits += max(labels[curve.index(max(curve))]) >= least
            for annotator in range(3):
                precision += _ranking_precision(curve, [label[annotator] >= least for label in labels]) / 3
        scores[f"HL-min-{name}-mAP"] = precision / len(annotations)
        scores[f"HL-min-{name}-Hit1"] = hits / len(annotations)
    return {name: float(f"{100 * value:.2f}") for name, value in scores.items()}


def _iou(a: list[float], b: list[float]) -> float:
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = a[1] - a[0] + b[1] - b[0] - shared
    return shared / union if union else 0.0


def _average_precision(windows: list[list[float]], moments: list[list[float]], level: float) -> float:
    free = set(range(len(moments)))
    hits = []
    for window in sorted(windows, key=lambda w: -w[2]):
        overlap, best = max(((_iou(window, moments[index]), index) for index in free), default=(0.0, -1))
        hits.append(overlap >= level)
        if overlap >= level:
            free.remove(best)
    area = highest = 0.0
    found = sum(hits)
    for rank in range(len(hits), 0, -1):
        highest = max(highest, found / rank)
        if hits[rank - 1]:
            area += highest
            found -= 1
    return area / len(moments)


def _ranking_precision(scores: list[float], positive: list[bool]) -> float:
    ranked = sorted(zip(scores, positive, strict=True), key=lambda pair: -pair[0])
    points = []  # precision at each threshold, and whether it adds positives
    found = before = 0
    for rank, (score, is_positive) in enumerate(ranked, start=1):
        found += is_positive
        if rank == len(ranked) or ranked[rank][0] != score:
            points.append((found / rank, found > before))
            before = found
    highest, adding = 0.0, []
    for precision, adds in reversed(points):
        highest = max(highest, precision)
        if adds:
            adding.append(highest)
    return sum(adding) / len(adding) if adding else 0.0


if __name__ == "__main__":
    main()
