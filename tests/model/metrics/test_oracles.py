"""Every number of the published evaluators: four published models, constructed cases, and the edges of domains."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.metrics.files import read_rows
from model.metrics.report import Report, evaluate, evaluate_domains
from tests.model.metrics import brute_force
from tests.shared_data import ROOT, shared

ORACLES = ROOT / "oracles" / "metrics"
CASES = sorted(
    path.parent.relative_to(ORACLES)
    for folder in ("qvhl_real", "qvhl_cases", "mr")
    for path in ORACLES.glob(f"{folder}/*/preds.jsonl")
)


def differences(expected: Any, found: Any, path: str = "") -> list[str]:
    """Where two nested tables of numbers differ; all that is expected must be found."""
    if isinstance(expected, dict):
        return [
            line
            for key, value in expected.items()
            for line in (
                differences(value, found.get(key), f"{path}/{key}") if isinstance(found, dict) else [path]
            )
        ]
    return [] if found == expected else [f"{path}: {found}, not {expected}"]


@cache
def report_of(folder: Path) -> Report:
    truth = folder / "gt.jsonl"
    if not truth.exists():
        truth = shared("data/annotations/qvhighlights/highlight_val_release.jsonl")
    return evaluate(read_rows(folder / "preds.jsonl"), read_rows(truth))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("evaluator", ["flashvtg", "moment_detr"])
def test_moments_and_highlights(case: Path, evaluator: str):
    folder = shared(f"oracles/metrics/{case}")
    metrics = folder / f"metrics_{evaluator}.json"
    if not metrics.exists():
        pytest.skip("this evaluator was not run")
    expected = json.loads(metrics.read_text())
    report = report_of(folder)
    if "error" in expected:  # the reference raises; ours has the defined value
        assert all(0 <= value <= 100 for value in report.brief.values())
        return
    for length in ("long", "middle", "short"):
        # For a length that no moment has, the reference writes zeros at thresholds of another grid.
        for measure in ("MR-mAP", "MR-R1"):
            values = expected.get(length, {}).get(measure, {})
            if "0.525" in values:
                assert set(values.values()) == {0.0}
                expected[length][measure] = dict.fromkeys(report.detail[length][measure], 0.0)
    assert differences(expected, report.detail) == []


PUBLISHED = sorted(path.parent.relative_to(ORACLES) for path in ORACLES.glob("**/published_metrics.json"))


@pytest.mark.parametrize("case", PUBLISHED, ids=str)
def test_what_the_authors_published(case: Path):
    folder = shared(f"oracles/metrics/{case}")
    expected = json.loads((folder / "published_metrics.json").read_text())
    assert differences(expected, report_of(folder).detail) == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_row_of_a_case_is_read(case: Path):
    folder = shared(f"oracles/metrics/{case}")
    if (folder / "case.json").exists():
        described = json.loads((folder / "case.json").read_text())
        assert len(read_rows(folder / "preds.jsonl")) == described.get("n", 3720)


NAMES = {"tvsum": "tvsum", "youtube_uni": "youtube_highlights"}
HIGHLIGHTS = [(dataset, case) for dataset in NAMES for case in ("longer_pred", "noisy_label", "random")]


@pytest.mark.parametrize("evaluator", ["flashvtg", "umt"])
@pytest.mark.parametrize(("dataset", "case"), HIGHLIGHTS)
def test_domains(dataset: str, case: str, evaluator: str):
    folder = shared(f"oracles/metrics/hl/{dataset}/{case}")
    scores = json.loads((folder / "preds.json").read_text())["scores"]
    expected = json.loads((folder / "metrics.json").read_text())[evaluator]
    files = {"tvsum": "tvsum/tvsum_val.jsonl", "youtube_uni": "youtube_highlights/youtube_valid.jsonl"}
    annotations = read_rows(shared(f"data/annotations/{files[dataset]}"))
    found = evaluate_domains(scores, annotations, dataset=NAMES[dataset])
    for domain, value in expected.items():
        assert found[domain] == pytest.approx(value, abs=5.1e-6), domain


def edge_truth(dataset: str) -> list[dict[str, Any]]:
    truth: list[dict[str, Any]] = json.loads(shared(f"oracles/metrics/hl/{dataset}_edge_gt.json").read_text())
    return truth


# What ranking the clips from first to last scores, and from last to first, worked out on paper: the reference's area
# under recall and precision. It has no number for a video without a highlight, and breaks down at one of a single clip.
EDGES = {
    "tvsum": {
        "BK": (0, 0),  # all clips alike: none lies above the median
        "BT": (0, 1),  # 1 1 1 1 1 1 2 2: the two above the median are not among the first five
        "DS": (17 / 45, 17 / 45),  # 1 2 3 4 5 1 2: three of five lie above the lower median, 2
        "FM": (0, 0),  # three clips, all alike
        "GA": (7 / 24, 1),  # 1 2 3 4: the lower median is 2
    },
    "youtube_uni": {
        "dog": (0, 0),  # no highlight
        "skating": (1, 1),  # nothing else
        "skiing": (1 / 3, 19 / 24),  # 0 1 0 1
        "surfing": (1, 1),  # one clip
        "parkour": (1 / 4, 1),  # 0 1
    },
}


@pytest.mark.parametrize("dataset", NAMES)
def test_edges_of_domains_by_hand(dataset: str):
    truth = edge_truth(dataset)
    assert {row["domain"] for row in truth} == set(EDGES[dataset])
    for column, step in enumerate((-1, 1)):
        scores = {row["vid"]: [step * clip for clip in range(len(row["label"]))] for row in truth}
        found = evaluate_domains(scores, truth, dataset=NAMES[dataset])
        expected = {domain: values[column] for domain, values in EDGES[dataset].items()}
        expected["Avg"] = sum(expected.values()) / len(expected)
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dataset", NAMES)
@pytest.mark.parametrize("fit", [-2, -1, 0, 3])
def test_edges_of_domains_equal_exact_fractions(dataset: str, fit: int):
    """Random rankings without ties; curves that are shorter than the video, or longer, are a part of it."""
    truth, rng = edge_truth(dataset), np.random.default_rng(fit + 2)
    reference = {"tvsum": brute_force.tvsum, "youtube_uni": brute_force.youtube}[dataset]
    for _ in range(20):
        scores = {
            row["vid"]: rng.permutation(max(0, len(row["label"]) + fit)).astype(float).tolist()
            for row in truth
        }
        found = evaluate_domains(scores, truth, dataset=NAMES[dataset])
        for row in truth:
            expected = float(reference(scores[row["vid"]], row["label"]))
            assert found[row["domain"]] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dataset", NAMES)
def test_edges_of_domains_alone(dataset: str):
    """A domain whose only video has no highlight has a number too; the reference divides 0 by 0."""
    for row in edge_truth(dataset):
        scores = {row["vid"]: list(range(len(row["label"])))}
        found = evaluate_domains(scores, [row], dataset=NAMES[dataset])
        assert found[row["domain"]] == found["Avg"] == pytest.approx(EDGES[dataset][row["domain"]][1])


def test_every_oracle_is_read_by_a_test():
    shared("oracles/metrics")
    read = {Path("nms/nms_oracle.json")}  # in test_decoding
    for case in CASES:
        read |= {case / name for name in ("preds.jsonl", "gt.jsonl", "case.json")}
        read |= {case / f"metrics_{evaluator}.json" for evaluator in ("flashvtg", "moment_detr")}
    read |= {case / "published_metrics.json" for case in PUBLISHED}
    read |= {Path("hl", *case, name) for case in HIGHLIGHTS for name in ("preds.json", "metrics.json")}
    read |= {Path("hl", f"{dataset}_edge_gt.json") for dataset in NAMES}
    files = {path.relative_to(ORACLES) for path in ORACLES.rglob("*") if path.is_file()}
    assert files - read == set()
