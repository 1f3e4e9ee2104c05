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
def test_unscorable_files_get_one_line(tmp_path, found, words):
    done = run(tmp_path, found)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--predictions", "--annotations"])
def test_a_file_that_does_not_exist_is_named(tmp_path, option):
    there = write(tmp_path / "p.jsonl", FOUND)
    files = {"--predictions": there, "--annotations": there, option: "no.jsonl"}
    done = vtg("eval", *(word for pair in files.items() for word in pair), home=tmp_path)
    assert done.returncode == 2
    assert f"{option} no.jsonl: does not exist" in done.stderr


# One's own annotations, whose fields are fewer

OWN = [
    {"vid": "a", "query": "a dog", "relevant_windows": [[0, 10]], "saliency": [0, 1]},
    {"vid": "b", "query": "a cat", "relevant_windows": [[20, 60]]},
]
OF_OWN = [
    {"qid": 0, "vid": "a", "query": "a dog", "pred_relevant_windows": [[0, 10, 0.9]], "pred_saliency_scores": [1]},
    {"qid": 1, "vid": "b", "query": "a cat", "pred_relevant_windows": [[20, 44, 0.9]], "pred_saliency_scores": [1]},
]  # fmt: skip


def test_annotations_need_no_qid_and_no_duration(tmp_path):
    done = run(tmp_path, OF_OWN, "--json", truth=OWN)
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert scores["MR-full-mIoU"] == 80
    assert all(key.startswith("MR-") for key in scores)  # there are no labels to rank clips by


def test_lines_that_were_moved_are_noticed(tmp_path):
    done = run(tmp_path, OF_OWN, truth=OWN[::-1])
    assert done.returncode == 1
    assert "a.jsonl, line 1: its vid is 'b', but prediction 0 has 'a'" in done.stderr


def test_curves_need_labels(tmp_path):
    found = [{key: row[key] for key in ("qid", "pred_saliency_scores")} for row in OF_OWN]
    done = run(tmp_path, found, truth=OWN)
    assert done.returncode == 1
    assert "the annotations hold no saliency_scores" in done.stderr


def test_predictions_need_annotations_or_a_run(tmp_path):
    done = vtg("eval", "--predictions", write(tmp_path / "p.jsonl", FOUND), home=tmp_path)
    assert done.returncode == 2
    assert "--predictions goes with --annotations FILE" in done.stderr
