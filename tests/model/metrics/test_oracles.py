"""Every number of the published evaluators, for four published models and constructed cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.metrics.files import read_rows
from model.metrics.report import evaluate, evaluate_domains
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


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("evaluator", ["flashvtg", "moment_detr"])
def test_moments_and_highlights(case: Path, evaluator: str):
    folder = shared(f"oracles/metrics/{case}")
    metrics = folder / f"metrics_{evaluator}.json"
    if not metrics.exists():
        pytest.skip("this evaluator was not run")
    expected = json.loads(metrics.read_text())
    truth = folder / "gt.jsonl"
    if not truth.exists():
        truth = shared("data/annotations/qvhighlights/highlight_val_release.jsonl")
    report = evaluate(read_rows(folder / "preds.jsonl"), read_rows(truth))
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


HIGHLIGHTS = [
    (dataset, case)
    for dataset in ("tvsum", "youtube_uni")
    for case in ("longer_pred", "noisy_label", "random")
]


@pytest.mark.parametrize(("dataset", "case"), HIGHLIGHTS)
def test_domains(dataset: str, case: str):
    folder = shared(f"oracles/metrics/hl/{dataset}/{case}")
    scores = json.loads((folder / "preds.json").read_text())["scores"]
    expected = json.loads((folder / "metrics.json").read_text())["flashvtg"]
    files = {"tvsum": "tvsum/tvsum_val.jsonl", "youtube_uni": "youtube_highlights/youtube_valid.jsonl"}
    annotations = read_rows(shared(f"data/annotations/{files[dataset]}"))
    names = {"tvsum": "tvsum", "youtube_uni": "youtube_highlights"}
    found = evaluate_domains(scores, annotations, dataset=names[dataset])
    for domain, value in expected.items():
        assert found[domain] == pytest.approx(value, abs=1.01e-5), domain
