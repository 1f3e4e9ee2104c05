"""Annotations: the published files as they are, their fields in one form, and lines that are refused."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.datasets.annotations import Annotation, AnnotationError, read_annotations, select_domain
from model.metrics.files import read_rows
from tests.shared_data import shared

PUBLISHED = {
    "qvhighlights": {
        "highlight_train_release": 7218,
        "highlight_train_release_IV2": 7216,
        "highlight_val_release": 1550,
        "highlight_test_release": 1542,
    },
    "charades_sta": {"charades_sta_train_tvr_format": 12404, "charades_sta_test_tvr_format": 3720},
    "tacos": {"train": 9790, "val": 4436, "test": 4001},
    "tvsum": {"tvsum_train": 40, "tvsum_val": 10},
    "youtube_highlights": {"youtube_train": 233, "youtube_valid": 152},
}
FILES = [(dataset, name) for dataset, names in PUBLISHED.items() for name in names]

CHARADES = {"qid": 1, "vid": "AO8RW", "query": "a person", "duration": 33.7, "relevant_windows": [[0.0, 6.9]]}
QVHIGHLIGHTS = {
    **CHARADES,
    "duration": 150,
    "relevant_windows": [[2, 6], [10, 12]],
    "relevant_clip_ids": [1, 2, 5],
    "saliency_scores": [[4, 4, 4], [0, 1, 2], [3, 0, 0]],
}
TVSUM = {**CHARADES, "duration": 3, "label": [[1, 5], [3, 3], [5, 5]], "domain": "VT"}
YOUTUBE = {**CHARADES, "duration": 3.5, "label": [[0], [1], [0]], "domain": "dog"}
OWN = {"vid": "holiday", "query": "we swim", "relevant_windows": [[1, 4.5]]}


def write(path: Path, rows: Sequence[Any]) -> Path:
    """Write lines; what is no string as JSON."""
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read_one(folder: Path, row: Any, dataset: str) -> Annotation:
    (annotation,) = read_annotations(write(folder / "a.jsonl", [row]), dataset)
    return annotation


@cache
def published(dataset: str, name: str) -> list[Annotation]:
    return read_annotations(shared(f"data/annotations/{dataset}/{name}.jsonl"), dataset)


class TestPublishedFiles:
    @pytest.mark.parametrize(("dataset", "name"), FILES)
    def test_every_line_is_read(self, dataset: str, name: str) -> None:
        annotations = published(dataset, name)
        assert len(annotations) == PUBLISHED[dataset][name]
        for annotation in annotations:
            assert all(0 <= start < end for start, end in annotation.windows_s)
            assert annotation.duration_s > 0
            assert annotation.saliency is None or (
                annotation.saliency.min() >= 0 and annotation.saliency.max() <= 12
            )

    def test_qvhighlights(self) -> None:
        train, fewer, test = (
            published("qvhighlights", f"highlight_{name}")
            for name in ("train_release", "train_release_IV2", "test_release")
        )
        assert {a.qid for a in train} - {a.qid for a in fewer} == {1265, 611}
        assert max(len(a.windows_s) for a in train) > 5
        assert all(set(a.relevant_clips) <= set(range(75)) for a in train)
        assert all(a.windows_s == () and a.saliency is None for a in test)

    def test_one_moment_a_query(self) -> None:
        charades, tacos = (
            published("charades_sta", "charades_sta_test_tvr_format"),
            published("tacos", "test"),
        )
        for split in (charades, tacos):
            assert {len(a.windows_s) for a in split} == {1}
            assert all(a.saliency is None for a in split)
        assert all(isinstance(a.qid, str) for a in tacos)  # s27-d50_0

    def test_domains(self) -> None:
        train, val = published("tvsum", "tvsum_train"), published("tvsum", "tvsum_val")
        assert set(Counter(a.domain for a in train).values()) == {4}
        assert set(Counter(a.domain for a in val).values()) == {1}
        assert len({a.domain for a in val}) == 10
        assert len(select_domain(train, "VT")) == 4
        assert len({a.domain for a in published("youtube_highlights", "youtube_valid")}) == 6

    def test_tvsum_counts_its_duration_in_clips(self) -> None:
        for annotation in published("tvsum", "tvsum_val"):
            assert annotation.saliency is not None
            assert annotation.duration_s == 2 * len(annotation.saliency) == 2 * annotation.row["duration"]

    def test_other_edition_of_tvsum(self) -> None:
        with pytest.raises(AnnotationError, match="annotators score 1 to 5"):
            read_annotations(shared("data/annotations/tvsum/tvsum_val_sfc.jsonl"), "tvsum")


class TestFields:
    def test_moments(self, tmp_path: Path) -> None:
        annotation = read_one(tmp_path, CHARADES, "charades_sta")
        assert (annotation.qid, annotation.vid, annotation.query) == (1, "AO8RW", "a person")
        assert annotation.windows_s == ((0.0, 6.9),)
        assert annotation.duration_s == 33.7
        assert annotation.saliency is None
        assert annotation.row == CHARADES

    def test_numbers_may_be_written_as_text(self, tmp_path: Path) -> None:
        row = {**OWN, "duration": "9.5", "relevant_windows": [["1", "4.5"]]}
        annotation = read_one(tmp_path, row, "custom")
        assert (annotation.duration_s, annotation.windows_s) == (9.5, ((1, 4.5),))

    def test_scores_of_qvhighlights_add_up(self, tmp_path: Path) -> None:
        annotation = read_one(tmp_path, QVHIGHLIGHTS, "qvhighlights")
        assert annotation.saliency is not None
        assert annotation.saliency.tolist() == [0, 12, 3, 0, 0, 3]
        assert annotation.relevant_clips == (1, 2, 5)
        assert annotation.windows_s == ((2, 6), (10, 12))

    def test_every_moment_is_kept(self, tmp_path: Path) -> None:
        windows = [[10 * k, 10 * k + 4] for k in range(9)]
        annotation = read_one(tmp_path, {**QVHIGHLIGHTS, "relevant_windows": windows}, "qvhighlights")
        assert len(annotation.windows_s) == 9

    def test_a_split_without_ground_truth(self, tmp_path: Path) -> None:
        row = {key: QVHIGHLIGHTS[key] for key in ("qid", "query", "duration", "vid")}
        for hidden in (row, {**row, "relevant_windows": None, "saliency_scores": None}):
            annotation = read_one(tmp_path, hidden, "qvhighlights")
            assert annotation.windows_s == ()
            assert annotation.saliency is None

    def test_tvsum_is_stretched_to_twelve(self, tmp_path: Path) -> None:
        annotation = read_one(tmp_path, TVSUM, "tvsum")
        assert annotation.saliency is not None
        # Two annotators: what lies above 1, over the 8 there can be, times 12.
        np.testing.assert_allclose(annotation.saliency, [6, 6, 12])
        assert annotation.saliency.dtype == np.float32
        assert annotation.duration_s == 6
        assert annotation.domain == "VT"

    def test_youtube_highlights_are_as_they_are(self, tmp_path: Path) -> None:
        annotation = read_one(tmp_path, YOUTUBE, "youtube_highlights")
        assert annotation.saliency is not None
        assert annotation.saliency.tolist() == [0, 1, 0]
        assert annotation.duration_s == 3.5

    def test_ones_own_need_no_qid_and_no_duration(self, tmp_path: Path) -> None:
        rows = [OWN, "", {**OWN, "query": "we eat", "duration": None}, {**OWN, "qid": "x", "duration": 7}]
        first, second, third = read_annotations(write(tmp_path / "a.jsonl", rows), "custom")
        assert (first.qid, second.qid, third.qid) == (0, 1, "x")
        assert math.isnan(first.duration_s)
        assert math.isnan(second.duration_s)
        assert third.duration_s == 7
        assert first.saliency is None

    def test_saliency_of_ones_own_goes_from_0_to_1(self, tmp_path: Path) -> None:
        annotation = read_one(tmp_path, {**OWN, "saliency": [0, 0.5, 1, 0]}, "custom")
        assert annotation.saliency is not None
        assert annotation.saliency.tolist() == [0, 6, 12, 0]
        assert annotation.relevant_clips == (1, 2)

    def test_own_data_with_saliency_scores(self, tmp_path: Path) -> None:
        annotation = read_one(tmp_path, QVHIGHLIGHTS, "custom")
        assert annotation.saliency is not None
        assert annotation.saliency.tolist() == [0, 12, 3, 0, 0, 3]

    @pytest.mark.parametrize("name", ["s17-d69_0", "a..b", "-x", "über 1", ".hidden", "x" * 240])
    def test_names_that_are_files(self, tmp_path: Path, name: str) -> None:
        annotation = read_one(tmp_path, {**CHARADES, "vid": name, "qid": name}, "tacos")
        assert (annotation.vid, annotation.qid) == (name, name)


class TestLines:
    @pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\u00a0"])
    def test_a_sentence_may_hold_line_separators(self, tmp_path: Path, separator: str) -> None:
        query = f"a man{separator}walks"
        rows = [{**CHARADES, "query": query}, {**CHARADES, "qid": 2}]
        path = write(tmp_path / "a.jsonl", rows)
        assert separator in path.read_text(encoding="utf-8")
        assert [a.query for a in read_annotations(path, "charades_sta")] == [query, "a person"]
        assert [row["query"] for row in read_rows(path)] == [query, "a person"]  # the metrics' own reader

    def test_lines_are_counted_as_an_editor_does(self, tmp_path: Path) -> None:
        rows = [{**CHARADES, "query": "a\u2028b"}, "", {**CHARADES, "qid": 2}, "{"]
        with pytest.raises(AnnotationError, match="line 4: "):
            read_annotations(write(tmp_path / "a.jsonl", rows), "charades_sta")

    def test_windows_line_ends_and_no_last_one(self, tmp_path: Path) -> None:
        lines = [json.dumps(CHARADES), json.dumps({**CHARADES, "qid": 2})]
        path = tmp_path / "a.jsonl"
        path.write_bytes("\r\n".join(lines).encode())
        assert [a.qid for a in read_annotations(path, "charades_sta")] == [1, 2]

    def test_a_mark_at_the_start_is_passed_over(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text(json.dumps(CHARADES), encoding="utf-8-sig")  # as editors on Windows do
        assert [a.qid for a in read_annotations(path, "charades_sta")] == [1]
        assert [row["qid"] for row in read_rows(path)] == [1]

    def test_an_annotation_knows_its_line(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", [CHARADES, "", {**CHARADES, "qid": 2}])
        places = [a.place for a in read_annotations(path, "charades_sta")]
        assert places == [f"{path}, line 1", f"{path}, line 3"]

    def test_a_qid_is_used_once(self, tmp_path: Path) -> None:
        rows = [CHARADES, {**CHARADES, "qid": 2}, {**CHARADES, "query": "another"}]
        with pytest.raises(AnnotationError, match=r"a\.jsonl, line 3: qid 1 is that of line 1 too"):
            read_annotations(write(tmp_path / "a.jsonl", rows), "charades_sta")

    def test_a_negative_may_be_about_several_videos(self, tmp_path: Path) -> None:
        rows = [{**CHARADES, "vid": vid, "relevant_windows": []} for vid in ("A", "B", "B")]
        path = write(tmp_path / "a.jsonl", rows)
        found = read_annotations(path, "charades_sta", negatives=True)
        assert [(a.qid, a.vid) for a in found] == [(1, "A"), (1, "B"), (1, "B")]
        with pytest.raises(AnnotationError, match="line 2: qid 1 is that of line 1 too"):
            read_annotations(path, "charades_sta")
        rows[1]["query"] = "another"
        with pytest.raises(AnnotationError, match="line 2: qid 1 is that of line 1 too"):
            read_annotations(write(path, rows), "charades_sta", negatives=True)

    def test_generated_qids_are_unique(self, tmp_path: Path) -> None:
        with pytest.raises(AnnotationError, match="qid 0 is that of line 1 too"):
            read_annotations(write(tmp_path / "a.jsonl", [OWN, {**OWN, "qid": 0}]), "custom")


class TestRefused:
    @pytest.mark.parametrize(
        "name",
        [
            "../secret",
            "a/b",
            "/etc/passwd",
            "..",
            ".",
            "",
            "a\\b",
            "a\0b",
            "a\nb",
            "x" * 250,
            "é" * 125,
            "\ud800",
        ],
        ids=ascii,
    )
    @pytest.mark.parametrize("field", ["vid", "qid"])
    def test_names_that_lead_out_of_the_feature_folder(self, tmp_path: Path, field: str, name: str) -> None:
        row = json.dumps(
            {**CHARADES, field: name}
        )  # escaped, since a lone surrogate cannot be written as it is
        with pytest.raises(AnnotationError, match=r"a\.jsonl, line 1: "):
            read_one(tmp_path, row, "charades_sta")

    @pytest.mark.parametrize(
        ("dataset", "row", "reason"),
        [
            ("tacos", "nonsense", "Expecting value"),
            ("tacos", "[1, 2]", "not a JSON object"),
            ("tacos", '{"qid": 1', "not JSON: Expecting ',' delimiter at column 10"),
            ("tacos", '{"qid": ' + "9" * 5000 + "}", "holds a number of 5000 digits"),
            ("tacos", "[" * 100_000, "nested too deeply"),
            ("tacos", {**CHARADES, "query": "  "}, "the query is empty"),
            ("tacos", {**CHARADES, "query": None}, "the query is empty"),
            ("tacos", {**CHARADES, "qid": None}, "qid None is neither"),
            ("tacos", {**CHARADES, "qid": True}, "qid True is neither"),
            ("tacos", {**CHARADES, "qid": 1.5}, "qid 1.5 is neither"),
            ("tacos", {**CHARADES, "vid": 7}, "vid 7 cannot be the name of a file"),
            ("tacos", {**CHARADES, "duration": 0}, "duration 0 is not a length of time"),
            ("tacos", {**CHARADES, "duration": math.nan}, "duration nan is not a length of time"),
            ("tacos", {**CHARADES, "duration": math.inf}, "duration inf is not a length of time"),
            ("tacos", {**CHARADES, "duration": "long"}, "duration 'long' is not a length of time"),
            ("tacos", {**CHARADES, "duration": True}, "duration True is not a length of time"),
            ("tacos", {**CHARADES, "duration": 10**400}, r"duration 10+… is not a length of time"),
            ("custom", {**OWN, "duration": 1e300}, "duration 1e\\+300 is not a length of time"),
            ("tacos", {**CHARADES, "relevant_windows": [[5, 3]]}, r"holds \[5, 3\], which is not"),
            ("tacos", {**CHARADES, "relevant_windows": [[-1, 3]]}, "which is not"),
            ("tacos", {**CHARADES, "relevant_windows": [[0, math.nan]]}, "which is not"),
            ("tacos", {**CHARADES, "relevant_windows": [[0, 1, 2]]}, r"holds \[0, 1, 2\], which is not"),
            (
                "tacos",
                {**CHARADES, "relevant_windows": [["0", "end"]]},
                r"holds \['0', 'end'\], which is not",
            ),
            ("tacos", {**CHARADES, "relevant_windows": [[False, True]]}, "which is not"),
            ("custom", {**OWN, "relevant_windows": [[0, 1e300]]}, "which is not"),
            (
                "custom",
                {**OWN, "relevant_windows": [0, 2]},
                r"is \[0, 2\], but must be a list of \[start, end\]",
            ),
            ("custom", {**OWN, "relevant_windows": {"ab": 1}}, r"is {'ab': 1}, but must be a list"),
            ("custom", {**OWN, "relevant_windows": ["12"]}, r"is \['12'\], but must be a list"),
            ("tacos", {**CHARADES, "relevant_windows": 5}, r"is 5, but must be a list"),
            (
                "custom",
                json.dumps({**OWN, "query": "\ud800"}),
                r"the query '\\ud800' holds half of a character",
            ),
            ("custom", json.dumps({**OWN, "query": "a dog\udc80"}), "half of a character"),
            ("custom", {**OWN, "query": 5}, "the query is empty or is not text"),
            ("custom", {**OWN, "qid": 10**300}, "is neither a number nor a name"),
            ("qvhighlights", {**QVHIGHLIGHTS, "relevant_clip_ids": [1, 2]}, "three numbers for each"),
            ("qvhighlights", {**QVHIGHLIGHTS, "relevant_clip_ids": [-1, 2, 3]}, "go from -1 to 3"),
            ("qvhighlights", {**QVHIGHLIGHTS, "relevant_clip_ids": [1, 2, 10**12]}, "go from 1 to"),
            ("qvhighlights", {**QVHIGHLIGHTS, "saliency_scores": [[1, 2]] * 3}, "three numbers for each"),
            ("qvhighlights", {**QVHIGHLIGHTS, "saliency_scores": [[1, 2, 5]] * 3}, "from 0 to 4"),
            (
                "qvhighlights",
                {**QVHIGHLIGHTS, "saliency_scores": [[1, 2, math.nan]] * 3},
                "three numbers for each",
            ),
            ("tvsum", {**TVSUM, "label": [1, 2, 3]}, "list of numbers for each clip"),
            ("tvsum", {**TVSUM, "label": [[1, 2], [3]]}, "list of numbers for each clip"),
            ("youtube_highlights", {**YOUTUBE, "label": [["1"]]}, "list of numbers for each clip"),
            ("qvhighlights", {**QVHIGHLIGHTS, "relevant_clip_ids": [1, 2, 3.5]}, "go from 1 to 3.5"),
            ("qvhighlights", {**QVHIGHLIGHTS, "relevant_clip_ids": "all"}, "list of whole numbers"),
            ("custom", {**OWN, "saliency": "high"}, "numbers from 0 to 1"),
            ("custom", {**OWN, "saliency": [[0.5], [1, 1]]}, "numbers from 0 to 1"),
            ("custom", {**OWN, "saliency": [10**400]}, "numbers from 0 to 1"),
            ("tvsum", {**TVSUM, "label": [[1, 6]]}, "goes from 1 to 6"),
            ("youtube_highlights", {**YOUTUBE, "label": [[math.nan]]}, "list of numbers for each clip"),
            ("youtube_highlights", {**YOUTUBE, "label": []}, "list of numbers for each clip"),
            ("custom", {**OWN, "relevant_windows": []}, "relevant_windows is empty or missing"),
            ("custom", {**OWN, "saliency": [0.5, 1.5]}, "numbers from 0 to 1"),
            ("custom", {**OWN, "saliency": [0.5, -0.1]}, "numbers from 0 to 1"),
            ("custom", {**OWN, "saliency": [0.5, math.nan]}, "numbers from 0 to 1"),
            ("custom", {**OWN, "saliency": []}, "numbers from 0 to 1"),
        ],
    )
    def test_malformed_lines(self, tmp_path: Path, dataset: str, row: Any, reason: str) -> None:
        with pytest.raises(AnnotationError, match=rf"a\.jsonl, line 1: .*{reason}"):
            read_one(tmp_path, row, dataset)

    @pytest.mark.parametrize(
        ("dataset", "row", "field"),
        [
            *[("tacos", CHARADES, field) for field in ("qid", "vid", "query", "duration")],
            ("qvhighlights", QVHIGHLIGHTS, "relevant_clip_ids"),
            ("tvsum", TVSUM, "label"),
            ("youtube_highlights", YOUTUBE, "label"),
            ("custom", OWN, "query"),
        ],
    )
    def test_a_missing_field_is_named(self, tmp_path: Path, dataset: str, row: Any, field: str) -> None:
        with pytest.raises(AnnotationError, match=f"line 1: there is no '{field}'"):
            read_one(tmp_path, {key: value for key, value in row.items() if key != field}, dataset)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [(None, "No such file"), (b"\n \n", "holds no annotations"), (b"\xff\xfe", "is not UTF-8 text")],
    )
    def test_files_without_lines(self, tmp_path: Path, content: bytes | None, reason: str) -> None:
        path = tmp_path / "a.jsonl"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(AnnotationError, match=rf"a\.jsonl: .*{reason}"):
            read_annotations(path, "tacos")

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(AnnotationError, match="cannot be read"):
            read_annotations(tmp_path, "tacos")


def test_unknown_domain_names_the_known(tmp_path: Path) -> None:
    rows = [{**TVSUM, "qid": qid, "domain": domain} for qid, domain in enumerate(["VT", "BK", "VT"])]
    annotations = read_annotations(write(tmp_path / "a.jsonl", rows), "tvsum")
    assert [a.qid for a in select_domain(annotations, "VT")] == [0, 2]
    with pytest.raises(AnnotationError, match="no annotation is of domain 'dog'; there are BK, VT"):
        select_domain(annotations, "dog")
