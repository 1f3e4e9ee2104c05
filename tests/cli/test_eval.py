"""`vtg eval` on small files whose scores can be worked out by hand."""

from __future__ import annotations

import json

import pytest

from tests.cli.running import vtg

TRUTH = [
    {"qid": 1, "query": "a", "relevant_windows": [[0, 10]]},
    {"qid": 2, "query": "b", "relevant_windows": [[20, 60]]},
]
FOUND = [
    {"qid": 1, "pred_relevant_windows": [[0, 10, 0.9]]},
    {"qid": 2, "pred_relevant_windows": [[20, 44, 0.9]]},  # IoU 0.6
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(tmp_path, found, *options, truth=TRUTH):
    predictions, annotations = write(tmp_path / "p.jsonl", found), write(tmp_path / "a.jsonl", truth)
    return vtg("eval", "--predictions", predictions, "--annotations", annotations, *options, home=tmp_path)


def test_published_keys_and_values(tmp_path):
    scores = json.loads(run(tmp_path, FOUND, "--json").stdout)
    assert scores["MR-full-R1@0.5"] == 100
    assert scores["MR-full-R1@0.7"] == 50
    assert scores["MR-full-mIoU"] == 80
    assert scores["MR-short-mAP"] == 100
    assert scores["MR-long-mAP"] == 30  # found at .5, .55 and .6 of ten thresholds
    assert scores["MR-full-mAP"] == 65


def test_the_table_has_every_score(tmp_path):
    done = run(tmp_path, FOUND)
    assert done.returncode == 0
    assert ["MR-full-mIoU", "80.00"] in [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (FOUND[:1], "1 missing (query 2 is not predicted)"),
        ([*FOUND, {"qid": 3, "pred_relevant_windows": []}], "1 unknown"),
        ([{"qid": 1, "pred_relevant_windows": [[0, 10]]}, FOUND[1]], "query 1"),
        ([{"qid": 1, "pred_relevant_windows": "all"}, FOUND[1]], "query 1"),
        ([{"qid": 1}, {"qid": 2}], "neither"),
        ([{"id": 1}], "line 1"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_line(tmp_path, found, words):
    done = run(tmp_path, found)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_file_is_named(tmp_path):
    done = vtg("eval", "--predictions", "no.jsonl", "--annotations", "no.jsonl", home=tmp_path)
    assert done.returncode == 1
    assert "no.jsonl" in done.stderr
