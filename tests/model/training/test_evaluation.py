"""Predictions of a split: their form, how they are scored, and that batches do not matter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from extractors.errors import VtgError
from model.config import Config, load_config, override_config
from model.datasets.annotations import Annotation, parse_annotation
from model.datasets.grounding import GroundingDataset
from model.decoding import Prediction
from model.metrics.files import EvaluationError, read_rows
from model.metrics.report import evaluate
from model.network.flashvtg import FlashVTG
from model.training.evaluation import evaluate_model, evaluate_predictions, score_rows, selection_score
from tests.model.datasets.small import Folders, annotation, qvhighlights, small_config

QVHIGHLIGHTS = load_config("qvhighlights-slowfast-clip")
TVSUM = load_config("tvsum-slowfast-clip")
YOUTUBE = load_config("youtube-highlights-clip-slowfast")

# Networks as small as these lose more than they gain by several threads.
pytestmark = pytest.mark.usefixtures("one_thread")

CLIPS = [9, 20, 4, 20, 8]  # of the videos of a split, in the order of its queries


def prediction(moments: Sequence[Sequence[float]], saliency: Sequence[float]) -> Prediction:
    curve = torch.tensor(saliency)
    return Prediction(torch.tensor(moments).reshape(-1, 3), curve, torch.zeros_like(curve))


def split(folder: Path, config: Config, **options: Any) -> tuple[FlashVTG, GroundingDataset]:
    """A network of random weights, and a split of videos of many lengths."""
    dataset = config.data.dataset
    lines: list[Annotation] = []
    for qid, clips in enumerate(CLIPS):
        fields: dict[str, Any] = {"qid": qid, "vid": f"v{qid}", "duration": clips * config.data.clip_length_s}
        if dataset == "qvhighlights":
            lines.append(qvhighlights({1: (4, 3, 2), 2: (1, 4, 0)}, **fields))
        elif dataset == "tvsum":
            fields |= {"duration": clips, "domain": "VT" if qid % 2 else "BK"}
            labels = [[1 + (qid + clip) % 5, 1 + clip % 3] for clip in range(clips)]
            lines.append(annotation(dataset, label=labels, **fields))
        else:
            lines.append(annotation(dataset, relevant_windows=[[1, 3]], **fields))
    folders = Folders(folder, config)
    folders.put_random(lines, CLIPS)
    torch.manual_seed(0)
    return FlashVTG(config.model), folders.dataset(lines, labelled=False, **options)


class TestRows:
    def test_of_moments_and_highlights(self, tmp_path: Path) -> None:
        network, dataset = split(tmp_path, small_config("qvhighlights-slowfast-clip"))
        found = evaluate_model(network, dataset)
        assert [row["qid"] for row in found.decoded] == list(range(len(CLIPS)))
        for row, line, clips in zip(found.decoded, dataset.annotations, CLIPS, strict=True):
            assert list(row) == ["qid", "query", "vid", "pred_relevant_windows", "pred_saliency_scores"]
            assert (row["query"], row["vid"]) == (line.query, line.vid)
            assert len(row["pred_saliency_scores"]) == clips
            windows = row["pred_relevant_windows"]
            assert len(windows) == min(50, sum(clips // stride for stride in (1, 2, 4, 8)))
            assert [w[2] for w in windows] == sorted((w[2] for w in windows), reverse=True)
            assert all(0 <= start <= end <= 2 * clips for start, end, _ in windows)
            assert all(start % 2 == end % 2 == 0 for start, end, _ in windows)
            numbers = [*sum(windows, []), *row["pred_saliency_scores"]]  # noqa: RUF017
            assert numbers == [round(number, 4) for number in numbers]
        lowest, suppressed = (
            [min(w[2] for w in row["pred_relevant_windows"]) for row in rows]
            for rows in (found.decoded, found.suppressed)
        )
        assert min(lowest) > 0
        assert max(suppressed) == 0

    def test_of_moments_alone(self, tmp_path: Path) -> None:
        network, dataset = split(tmp_path, small_config("charades-sta-slowfast-clip"))
        found = evaluate_model(network, dataset)
        assert list(found.decoded[0]) == ["qid", "query", "vid", "pred_relevant_windows"]
        assert {"MR-full-R1@0.3", "MR-full-R1@0.5", "MR-full-R1@0.7", "MR-full-mIoU"} <= set(found.metrics)
        assert not any(key.startswith("HL") for key in found.metrics)

    def test_of_highlights_alone(self, tmp_path: Path) -> None:
        network, dataset = split(tmp_path, small_config("tvsum-slowfast-clip"))
        found = evaluate_model(network, dataset)
        assert list(found.decoded[0]) == ["qid", "query", "vid", "pred_saliency_scores"]
        assert [len(row["pred_saliency_scores"]) for row in found.decoded] == CLIPS
        assert set(found.metrics) == {"BK", "VT", "Avg", "mAP"}
        assert found.suppressed == found.decoded
        assert found.suppressed_metrics == found.metrics

    def test_written_and_read_they_score_the_same(self, tmp_path: Path) -> None:
        network, dataset = split(tmp_path, small_config("qvhighlights-slowfast-clip"))
        found = evaluate_model(network, dataset)
        for rows, metrics in ((found.decoded, found.metrics), (found.suppressed, found.suppressed_metrics)):
            path = tmp_path / "preds.jsonl"
            path.write_text("\n".join(map(json.dumps, rows)))
            truth = [line.row for line in dataset.annotations]
            assert evaluate(read_rows(path), truth).brief == metrics


class TestNetwork:
    @pytest.mark.parametrize("released", ["qvhighlights-slowfast-clip", "tvsum-slowfast-clip"])
    def test_the_size_of_batches_does_not_matter(self, tmp_path: Path, released: str) -> None:
        # Off the grid, since a rounding error may move a moment's end to the next clip.
        network, dataset = split(tmp_path, small_config(released, "decoding.round_to_clips=false"))
        alone, together = (evaluate_model(network, dataset, batch_size=size) for size in (1, 3))
        for one, two in zip(alone.decoded, together.decoded, strict=True):
            assert one["qid"] == two["qid"]
            for key in one.keys() & {"pred_relevant_windows", "pred_saliency_scores"}:
                torch.testing.assert_close(
                    torch.tensor(two[key]), torch.tensor(one[key]), rtol=0, atol=1.1e-4
                )
        assert together.metrics == pytest.approx(alone.metrics, abs=0.011)

    @pytest.mark.parametrize("training", [True, False])
    def test_evaluation_without_dropout(self, tmp_path: Path, training: bool) -> None:
        network, dataset = split(tmp_path, small_config("qvhighlights-slowfast-clip"))
        network.train(training)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        one, other = (evaluate_model(network, dataset) for _ in range(2))
        assert one == other
        assert network.training is training
        assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
        assert all(parameter.grad is None for parameter in network.parameters())

    def test_mode_is_restored_after_an_error(self, tmp_path: Path) -> None:
        network, dataset = split(tmp_path, small_config("qvhighlights-slowfast-clip"), keep_bytes=0)
        (tmp_path / "clip_features" / "v3.npz").unlink()
        network.train()
        with pytest.raises(VtgError, match=r"v3\.npz"):
            evaluate_model(network, dataset)
        assert network.training

    def test_progress_reaches_the_end(self, tmp_path: Path) -> None:
        network, dataset = split(tmp_path, small_config("qvhighlights-slowfast-clip"))
        steps: list[tuple[int, int]] = []
        evaluate_model(network, dataset, batch_size=3, on_progress=lambda *step: steps.append(step))
        assert steps == [(3, 5), (5, 5)]


class TestScores:
    """Two moments of 10 s, found first and third; between them the first once more."""

    LINE = qvhighlights(
        {0: (4, 4, 0), 1: (2, 4, 0), 10: (4, 0, 0)},
        duration=40,
        relevant_windows=[[0, 10], [20, 30]],
    )
    FOUND = prediction(
        [[0, 10, 0.9], [0, 9.9, 0.80004], [20, 30, 0.7]],
        [9.0, 7.0, *[0.0] * 8, 8.0, *[-1.0] * 9],
    )

    def test_before_and_after_suppression(self) -> None:
        found = evaluate_predictions([self.FOUND], [self.LINE], QVHIGHLIGHTS)
        assert found.decoded[0]["pred_relevant_windows"] == [[0, 10, 0.9], [0, 9.9, 0.8], [20, 30, 0.7]]
        assert found.suppressed[0]["pred_relevant_windows"] == [[0, 10, 0.9], [20, 30, 0.7], [0, 9.9, 0]]
        assert found.suppressed[0]["pred_saliency_scores"] == found.decoded[0]["pred_saliency_scores"]
        # One half at precision 1, the other at 2/3; without the double, both at 1.
        assert found.metrics["MR-full-mAP"] == 83.33
        assert found.suppressed_metrics["MR-full-mAP"] == 100
        for metrics in (found.metrics, found.suppressed_metrics):
            assert metrics["MR-full-R1@0.7"] == metrics["MR-full-mIoU"] == 100
            assert metrics["MR-short-mAP"] == metrics["MR-full-mAP"]
            assert metrics["MR-long-mAP"] == 0

    def test_highlights(self) -> None:
        metrics = evaluate_predictions([self.FOUND], [self.LINE], QVHIGHLIGHTS).metrics
        # Ranked: clips 0, 10, 1. The first annotator has 0 and 10 very good, the second 0 and 1, the third none.
        assert metrics["HL-min-VeryGood-mAP"] == round(100 * (1 + (1 + 2 / 3) / 2 + 0) / 3, 2)
        assert metrics["HL-min-Fair-mAP"] == round(100 * (1 + (1 + 2 / 3) / 2 + 0) / 3, 2)
        assert metrics["HL-min-VeryGood-Hit1"] == 100

    def test_suppression_as_configured(self) -> None:
        linear = override_config(QVHIGHLIGHTS, ["decoding.nms=linear"])
        (row,) = evaluate_predictions([self.FOUND], [self.LINE], linear).suppressed
        assert row["pred_relevant_windows"] == [[0, 10, 0.9], [20, 30, 0.7], [0, 9.9, pytest.approx(0.008)]]
        none = override_config(QVHIGHLIGHTS, ['decoding.nms="none"'])
        found = evaluate_predictions([self.FOUND], [self.LINE], none)
        assert found.suppressed == found.decoded
        assert found.suppressed_metrics == found.metrics

    def test_a_query_without_an_answer(self) -> None:
        found = evaluate_predictions([prediction([], [0.0] * 20)], [self.LINE], QVHIGHLIGHTS)
        assert found.suppressed[0]["pred_relevant_windows"] == []
        assert found.metrics["MR-full-mAP"] == found.suppressed_metrics["MR-full-R1@0.3"] == 0

    def test_rows_without_ground_truth(self) -> None:
        hidden = annotation("qvhighlights", qid=2, duration=40)
        found = evaluate_predictions([self.FOUND], [hidden], QVHIGHLIGHTS)
        assert (found.metrics, found.suppressed_metrics) == ({}, {})
        assert found.suppressed[0]["pred_relevant_windows"] != found.decoded[0]["pred_relevant_windows"]
        assert evaluate_predictions([self.FOUND] * 2, [self.LINE, hidden], QVHIGHLIGHTS).metrics == {}

    def test_partial_saliency_scores_moments_only(self) -> None:
        bare = annotation("qvhighlights", qid=2, duration=40, relevant_windows=[[0, 10]])
        found = evaluate_predictions([self.FOUND] * 2, [self.LINE, bare], QVHIGHLIGHTS)
        assert set(found.metrics) == {key for key in found.metrics if key.startswith("MR-")}
        assert "pred_saliency_scores" in found.decoded[1]

    def test_rows_of_other_queries_are_refused(self) -> None:
        rows = evaluate_predictions([self.FOUND], [self.LINE], QVHIGHLIGHTS).decoded
        with pytest.raises(EvaluationError, match="query 1 is predicted only"):
            score_rows(rows, [qvhighlights({0: (1, 1, 1)}, qid=5)], QVHIGHLIGHTS)


class TestOnesOwn:
    @pytest.mark.parametrize("released", ["custom-slowfast-clip", "custom-lite"])
    @pytest.mark.parametrize("duration", [None, 40])
    def test_without_qid_and_duration(self, released: str, duration: float | None) -> None:
        row = {"vid": "v", "query": "we swim", "relevant_windows": [[0, 10], [20, 30]], "duration": duration}
        line = parse_annotation(row, "custom", position=7)
        found = evaluate_predictions([TestScores.FOUND], [line], load_config(released))
        assert found.decoded[0]["qid"] == 7
        assert found.metrics["MR-full-mAP"] == 83.33
        assert not any(key.startswith("HL") for key in found.metrics)

    @pytest.mark.parametrize(
        ("released", "duration", "scored"),
        [
            ("custom-slowfast-clip", 40, True),
            ("custom-slowfast-clip", "40", True),
            ("custom-slowfast-clip", None, False),  # how many clips there are to rank is not known
            ("custom-lite", 40, False),  # its clips are not those that the benchmark ranks
        ],
    )
    def test_scores_of_annotators(self, released: str, duration: Any, scored: bool) -> None:
        row = {**TestScores.LINE.row, "duration": duration}
        found = evaluate_predictions([TestScores.FOUND], [annotation("custom", **row)], load_config(released))
        assert found.metrics["MR-full-mAP"] == 83.33
        assert ("HL-min-VeryGood-Hit1" in found.metrics) is scored


class TestDomains:
    def test_youtube_highlights(self) -> None:
        lines = [
            annotation("youtube_highlights", qid=vid, vid=vid, domain=domain, label=label)
            for vid, domain, label in [
                ("a", "dog", [[1], [0]]),
                ("b", "dog", [[0], [1]]),
                ("c", "skiing", [[1], [1], [0]]),
            ]
        ]
        curves = [[1.0, 0.0], [1.0, 0.0], [2.0, 3.0, -1.0]]
        found = evaluate_predictions([prediction([], curve) for curve in curves], lines, YOUTUBE)
        # A highlight on the second rank: precision goes from 0 to 1/2 at its only step of recall.
        assert found.metrics == {"dog": 62.5, "skiing": 100, "Avg": 81.25, "mAP": 81.25}

    def test_tvsum(self) -> None:
        lines = [
            annotation("tvsum", qid=vid, vid=vid, domain=domain, label=[[n] for n in label])
            for vid, domain, label in [("a", "BK", [1, 1, 5]), ("b", "VT", [3, 3, 3])]
        ]
        found = evaluate_predictions([prediction([], [0.0, 1.0, 2.0])] * 2, lines, TVSUM)
        assert found.metrics == {"BK": 100, "VT": 0, "Avg": 50, "mAP": 50}

    def test_of_one_domain(self) -> None:
        line = annotation("tvsum", domain="BK", label=[[1], [2], [5]])
        found = evaluate_predictions([prediction([], [1.0, 3.0, 2.0])], [line], TVSUM)
        assert found.metrics["mAP"] == found.metrics["BK"] == found.metrics["Avg"]
        assert selection_score(found.metrics, TVSUM) == found.metrics["mAP"]


class TestSelection:
    def test_mean_of_selection_metrics(self) -> None:
        config = load_config("charades-sta-slowfast-clip")
        scores = {"MR-full-R1@0.5": 40.0, "MR-full-R1@0.7": 20.0, "MR-full-mAP": 99.0}
        assert selection_score(scores, config) == 30

    def test_a_metric_that_the_split_does_not_give(self) -> None:
        config = override_config(QVHIGHLIGHTS, ['training.selection_metrics=["mAP","MR-full-mAP"]'])
        with pytest.raises(
            VtgError, match=r"training\.selection_metrics: this split gives no mAP; it gives MR-"
        ):
            selection_score({"MR-full-mAP": 1.0}, config)

    def test_a_split_without_scores(self) -> None:
        with pytest.raises(VtgError, match="gives no MR-full-mAP; it gives no scores"):
            selection_score({}, QVHIGHLIGHTS)
