"""Your own data, from files to splits: what is held out, and annotations that do not fit their videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extractors.cache.store import FeatureCache
from extractors.errors import UsageError
from extractors.features import FeatureSpec
from extractors.videos.facts import VideoInfo
from model.config import load_config
from model.datasets.annotations import AnnotationError, read_annotations
from model.datasets.features import FeatureFileError, FeatureFolder
from model.datasets.fit import require_fit
from model.datasets.sources import CachedVideos, FolderVideos
from model.training.data.inputs import DataMissing, Inputs
from model.training.data.splits import evaluation_annotations, evaluation_split, training_splits
from tests.model.datasets.own import CLIPS, OwnData
from tests.model.datasets.small import annotation, small_config
from tests.shared_data import shared

CONFIG = small_config("custom-slowfast-clip")  # clips of 2 s; rows of 3 and 2, tokens of 4 numbers


@pytest.fixture
def own(tmp_path: Path) -> OwnData:
    return OwnData(tmp_path)


def test_run_is_scored_on_held_out_videos(own: OwnData) -> None:
    inputs = Inputs(train=own.write())
    learnt, scored = training_splits(CONFIG, inputs)
    again = evaluation_split(CONFIG, Inputs.from_json(json.loads(json.dumps(inputs.to_json()))))
    assert [a.vid for a in again.annotations] == [a.vid for a in scored.annotations]
    assert {a.vid for a in again.annotations}.isdisjoint(a.vid for a in learnt.annotations)
    assert again.origin == f"the videos held out of {own.folder / 'mine.jsonl'}"


@pytest.mark.parametrize("videos", [2, 5, 40])
def test_held_out_videos(own: OwnData, videos: int) -> None:
    rows = [{**own.rows[0], "vid": f"clip{number}"} for number in range(videos)]
    splits = [evaluation_annotations(CONFIG, Inputs(train=own.write(some)))[0] for some in (rows, rows[::-1])]
    held_out = [{annotation.vid for annotation in split} for split in splits]
    assert held_out[0] == held_out[1]
    assert 1 <= len(held_out[0]) < max(videos / 4, 2)


def test_a_single_video_cannot_be_held_out(own: OwnData) -> None:
    with pytest.raises(UsageError, match="too few videos to hold one out"):
        training_splits(CONFIG, Inputs(train=own.write(own.rows[:1])))


def test_other_file_replaces_held_out_videos(own: OwnData) -> None:
    other = own.write(own.rows[:2], "other.jsonl")
    annotations, origin = evaluation_annotations(CONFIG, Inputs(train=own.write(), evaluate=other))
    assert [a.vid for a in annotations] == ["v0", "v1"]
    assert origin == str(other)


def test_what_was_moved_is_named(own: OwnData) -> None:
    inputs = Inputs(train=own.write(), videos=own.folder / "videos")
    with pytest.raises(DataMissing, match=r"inputs\.json: .*videos no longer exists; restore it"):
        inputs.require_there("runs/a/inputs.json")
    Inputs(train=own.write()).require_there("runs/a/inputs.json")
    moved = Inputs(train=own.folder / "gone.jsonl", evaluate=own.write())
    with pytest.raises(DataMissing, match=r"gone\.jsonl no longer exists"):
        moved.require_there("runs/a/inputs.json")
    moved.require_there("runs/a/inputs.json", scoring=True)


# Annotations and the videos they are about


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"relevant_windows": [[2, 6], [50, 200]]}, r"holds \[50\.0, 200\.0\], but 'v3' is 10\.0 s long"),
        ({"relevant_windows": [[2, 12.5]]}, r"holds \[2\.0, 12\.5\], but"),
        ({"relevant_windows": [[10, 11]]}, r"holds \[10\.0, 11\.0\], but"),
        ({"duration": 30}, r"duration is 30 s, but 'v3' is 10\.0 s long \(5 clips, of data\.clip_length_s = 2 s\)"),
        ({"duration": 1e-6}, "duration is 1e-06 s, but 'v3' is"),
        ({"saliency": [0.5] * 7}, r"labels 7 clips, but 'v3' has 5 of 2 s \(data\.clip_length_s\)"),
        ({"relevant_clip_ids": [9], "saliency_scores": [[1, 2, 3]]}, "labels 10 clips, but"),
    ],
)  # fmt: skip
def test_impossible_moments_are_refused(own: OwnData, row: dict[str, Any], reason: str) -> None:
    own.rows[3] |= row
    inputs = Inputs(train=own.write())
    with pytest.raises(AnnotationError, match=rf"mine\.jsonl, line 4: .*{reason}"):
        training_splits(CONFIG, inputs)
    with pytest.raises(AnnotationError, match=rf"mine\.jsonl, line 4: .*{reason}"):
        evaluation_split(CONFIG, Inputs(evaluate=own.write()))


@pytest.mark.parametrize(
    "row",
    [
        {"relevant_windows": [[2, 12]]},  # up to a clip more, as rounded times have
        {"relevant_windows": [[9.5, 11]]},
        {"relevant_windows": [[2, 12]], "duration": 13.5},  # two rows may be missing at the end
        {"saliency": [0.5] * 6},
        {"saliency": [0.5]},
    ],
)
def test_what_nearly_fits_is_taken(own: OwnData, row: dict[str, Any]) -> None:
    own.rows[3] |= row
    learnt, scored = training_splits(CONFIG, Inputs(train=own.write()))
    assert len(learnt.annotations) + len(scored.annotations) == 12


def test_further_misfits_are_counted(own: OwnData) -> None:
    for index in (1, 4, 5, 9):
        own.rows[index]["relevant_windows"] = [[50, 60]]
    with pytest.raises(
        AnnotationError, match=r"line 2: .* long; .*line 5 does not fit either, nor do 2 more$"
    ):
        training_splits(CONFIG, Inputs(train=own.write()))


def test_a_video_is_as_long_as_its_file(tmp_path: Path) -> None:
    path, spec = tmp_path / "v.mp4", FeatureSpec("lite", 4, 2.0)
    path.write_bytes(b"never decoded")
    cache = FeatureCache(tmp_path / "cache")
    cache.store_video(
        path,
        spec,
        np.ones((5, 4), np.float32),
        VideoInfo(path, 8.1, 25.0, 64, 48, 202, "h264", 0, "decord", ""),
    )
    videos = CachedVideos(cache, [spec], {"v": path})
    assert videos.length_s("v") == 8.1
    fits = annotation("custom", duration=None, relevant_windows=[[4, 10]])
    require_fit([fits], videos, CONFIG.data)
    with pytest.raises(AnnotationError, match=r"but 'v' is 8\.1 s long"):
        require_fit([annotation("custom", duration=None, relevant_windows=[[4, 10.5]])], videos, CONFIG.data)


@pytest.mark.parametrize(
    ("dataset", "name", "config"),
    [
        ("qvhighlights", "highlight_train_release", "qvhighlights-slowfast-clip"),
        ("qvhighlights", "highlight_val_release", "qvhighlights-slowfast-clip"),
        ("charades_sta", "charades_sta_train_tvr_format", "charades-sta-slowfast-clip"),
        ("charades_sta", "charades_sta_test_tvr_format", "charades-sta-slowfast-clip"),
        ("tacos", "train", "tacos-slowfast-clip"),
        ("tacos", "val", "tacos-slowfast-clip"),
        ("tacos", "test", "tacos-slowfast-clip"),
        ("tvsum", "tvsum_train", "tvsum-slowfast-clip"),
        ("youtube_highlights", "youtube_train", "youtube-highlights-clip-slowfast"),
    ],
)
def test_published_annotations_fit_their_durations(dataset: str, name: str, config: str) -> None:
    annotations = read_annotations(shared(f"data/annotations/{dataset}/{name}.jsonl"), dataset)
    no_videos = FolderVideos([FeatureFolder(Path("nowhere"), "clip", 512)])
    require_fit(annotations, no_videos, load_config(config).data)


def test_published_durations_are_checked() -> None:
    config, no_videos = small_config("charades-sta-slowfast-clip"), FolderVideos([])
    require_fit([annotation("charades_sta", relevant_windows=[[2, 11]])], no_videos, config.data)
    with pytest.raises(AnnotationError, match=r"query 1: .* 'v' is 10\.0 s long"):
        require_fit([annotation("charades_sta", relevant_windows=[[2, 11.5]])], no_videos, config.data)


# Features that are missing, or of another make


def test_wrong_feature_width(own: OwnData) -> None:
    path = own.put("clip_features", "v7", np.ones((CLIPS, 768), np.float32))
    with pytest.raises(FeatureFileError) as error:
        training_splits(CONFIG, Inputs(train=own.write()))
    assert str(path) in str(error.value)
    assert "rows of 2; for rows of 768, set data.video_features and model.video_dim" in str(error.value)


def test_wrong_token_width(own: OwnData) -> None:
    path = own.put("clip_text_features", "qid7", np.ones((3, 768), np.float32), key="last_hidden_state")
    with pytest.raises(FeatureFileError) as error:
        training_splits(CONFIG, Inputs(train=own.write()))
    assert str(path) in str(error.value)
    assert "rows of 4; for rows of 768, set data.text_features and model.text_dim" in str(error.value)


def test_wrong_width_of_extracted_features(tmp_path: Path) -> None:
    config = small_config("custom-lite")  # reads rows of 3 numbers
    (tmp_path / "v0.mp4").write_bytes(b"never decoded")
    rows = [{"vid": f"v{n}", "query": "a", "relevant_windows": [[0, 1]]} for n in range(12)]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(UsageError, match=r"'lite' rows of 3 numbers.* have 384; set data\.video_features"):
        training_splits(config, Inputs(train=tmp_path / "a.jsonl", videos=tmp_path))


def test_missing_own_features_are_explained(own: OwnData) -> None:
    own.rows[3]["vid"] = "kitchen"
    inputs = Inputs(train=own.write())
    with pytest.raises(DataMissing) as error:
        training_splits(CONFIG, inputs)
    assert "1 video of the annotations has no features (kitchen)" in str(error.value)
    assert "vtg datasets" not in str(error.value)
    assert "--videos" in str(error.value)
    assert "--skip-missing" in str(error.value)
    learnt, scored = training_splits(CONFIG, Inputs(train=own.write(), skip_missing=True))
    assert len(learnt.annotations) + len(scored.annotations) == 11
    assert learnt.left_out == ("kitchen",)


def test_absent_and_unreadable_videos(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "broken.mp4").write_text("no video")
    rows = [{"vid": vid, "query": "a", "relevant_windows": [[0, 1]]} for vid in ("broken", "gone", "lost")]
    (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    inputs = Inputs(train=tmp_path / "mine.jsonl", videos=videos)
    with pytest.raises(DataMissing) as error:
        training_splits(load_config("custom-lite"), inputs, cache=FeatureCache(tmp_path / "cache"))
    assert f"2 videos of the annotations are not in {videos} (gone, lost) and 1 video cannot be read" in str(
        error.value
    )


def test_own_model_needs_annotations() -> None:
    with pytest.raises(UsageError, match="--annotations FILE"):
        evaluation_split(CONFIG, Inputs())


def test_unknown_split_names_the_known(tmp_path: Path) -> None:
    config = small_config("qvhighlights-slowfast-clip")
    with pytest.raises(
        UsageError, match=r"no such file of annotations.*splits of qvhighlights are train, .*val"
    ):
        evaluation_split(config, Inputs(data=tmp_path, evaluate=Path("vla")))
