from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from extractors.encoders.registry import text_feature_names
from extractors.errors import UsageError
from extractors.plugins import imported
from model.config import Config, available_configs, load_config
from model.dataset_entry import dataset_info, datasets, require_dataset
from model.datasets.library import catalogue
from model.datasets.library.catalogue import (
    dataset_folder,
    find_annotations,
    find_features,
    is_complete,
    missing_data_message,
    requirements,
)
from tests.shared_data import shared

QVHL = dataset_info("qvhighlights")
CHARADES = dataset_info("charades_sta")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("VTG_DATA", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setenv("VTG_HOME", str(tmp_path / "vtg"))
    return tmp_path


@pytest.fixture
def config() -> Config:
    return load_config("qvhighlights-slowfast-clip")


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


# The table.


def test_every_dataset_is_known() -> None:
    names = [info.name for info in datasets()]
    assert names == ["charades_sta", "qvhighlights", "tacos", "tvsum", "youtube_highlights"]
    assert {load_config(name).data.dataset for name in available_configs()} == {*names, "custom"}


def test_code_of_entries_exists() -> None:
    for info in (*datasets(), require_dataset("custom")):
        assert all(callable(imported(code)) for code in (info.saliency, info.precision) if code is not None)
        assert (info.precision is None) == info.has_moments


def test_it_is_consistent() -> None:
    spoken = [name for info in datasets() for name in (info.name, *info.aliases)]
    assert len(set(spoken)) == len(spoken)
    for info in datasets():
        assert info.folders[0] == info.name
        assert info.licence
        assert info.page.startswith("https://")
        files = [item.file for item in info.annotations]
        assert len(set(files)) == len(files)
        for item in info.annotations:
            assert item.rows > 0
            assert len(item.sha256) in (0, 64)
            assert all(url.startswith("https://") and url.endswith(item.file) for url in item.urls), item.file
        for archive in info.archives:
            assert archive.page.startswith("https://")
            assert set(archive.streams) <= set(info.features), archive.name
            assert len(archive.sha256) in (0, 64)
        for stream, names in info.features.items():
            assert f"{stream}_features" in names
        folders = [name for names in info.features.values() for name in names]
        assert len(set(folders)) == len(folders), info.name


def test_manual_links_are_not_downloads() -> None:
    urls = [archive.url for info in datasets() for archive in info.archives if archive.url]
    urls += [url for info in datasets() for item in info.annotations for url in item.urls]
    assert urls
    assert not [url for url in urls if "drive.google" in url or "dropbox" in url]


def test_configurations_find_their_files() -> None:
    for info in datasets():
        for name in info.configs:
            data = load_config(name).data
            assert data.dataset == info.name
            files = {item.file for item in info.annotations}
            assert {data.train_annotations, data.eval_annotations} <= files
            for spec in data.video_features:
                assert any(spec.name in archive.streams for archive in info.archives), (name, spec.name)
            text = data.text_features.name
            made = {text, text.removesuffix("_text")} & set(text_feature_names())
            assert made or any(text in archive.streams for archive in info.archives), (name, text)


@pytest.mark.parametrize("info", datasets(), ids=lambda info: info.name)
def test_rows_sizes_and_hashes(info: catalogue.DatasetInfo) -> None:
    folder = shared(f"data/annotations/{info.name}")
    compared = 0
    for item in info.annotations:
        if not (folder / item.file).is_file():
            continue
        content = (folder / item.file).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (item.size_bytes, item.sha256)
        assert sum(bool(line.strip()) for line in content.split(b"\n")) == item.rows
        compared += 1
    assert compared >= 2


@pytest.mark.parametrize(
    ("spoken", "name"),
    [
        ("qvhl", "qvhighlights"),
        ("QVHighlights", "qvhighlights"),
        ("charades", "charades_sta"),
        ("charades-sta", "charades_sta"),
        ("Charades-STA", "charades_sta"),
        ("youtube", "youtube_highlights"),
        ("TACoS", "tacos"),
    ],
)
def test_a_dataset_goes_by_several_names(spoken: str, name: str) -> None:
    assert dataset_info(spoken).name == name


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="charades_sta, qvhighlights, tacos, tvsum, youtube_highlights"):
        dataset_info("activitynet")


def test_hugging_face_links_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    urls = [archive.url for archive in dataset_info("qvhl").archives if archive.url]
    assert len(urls) == 2
    assert all(url.startswith("https://mirror.example/datasets/cg1177/") for url in urls)


# Where things lie.


def test_default_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dataset_folder(QVHL) == home / "vtg" / "datasets" / "qvhighlights"
    monkeypatch.setenv("VTG_DATA", str(home / "elsewhere"))
    assert dataset_folder(QVHL) == home / "elsewhere" / "qvhighlights"


@pytest.mark.parametrize(
    "thing", ["highlight_val_release.jsonl", "slowfast_features/a.npz", "qvhighlight_6b/a.pt"]
)
def test_root_is_the_folder(home: Path, thing: str) -> None:
    touch(home / thing)
    (home / "qvhighlight").mkdir()
    assert dataset_folder(QVHL, home) == home


@pytest.mark.parametrize("name", ["qvhighlights", "qvhighlight"])
def test_root_is_the_parent(home: Path, name: str) -> None:
    (home / name).mkdir()
    assert dataset_folder(QVHL, home) == home / name


def test_the_published_feature_tree_is_understood(home: Path) -> None:
    touch(home / "features" / "slowfast_features" / "a.npz")
    assert dataset_folder(QVHL, home) == home
    assert find_features(QVHL, "slowfast", home) == home / "features" / "slowfast_features"


def test_missing_folder_is_named(home: Path) -> None:
    assert dataset_folder(QVHL, home / "new") == home / "new" / "qvhighlights"
    assert dataset_folder(QVHL, home / "qvhighlights") == home / "qvhighlights"


@pytest.mark.parametrize("place", ["", "annotations", "data"])
def test_annotations_are_found(home: Path, place: str) -> None:
    assert find_annotations("mine.jsonl", home) is None
    path = touch(home / place / "mine.jsonl")
    assert find_annotations("mine.jsonl", home) == path


@pytest.mark.parametrize(
    ("name", "stream", "published"),
    [
        ("qvhighlights", "internvideo2", "qvhighlight_6b"),
        ("qvhighlights", "llama_text", "qvhighlight_llama_text_feature"),
        ("charades_sta", "internvideo2", "charade_sta_6b"),
        ("charades_sta", "llama_text", "charade_sta_llama_text_feature"),
        ("charades_sta", "vgg", "vgg_features/rgb_features"),
        ("tvsum", "slowfast", "vid_slowfast"),
        ("youtube_highlights", "clip", "vid_clip"),
        ("youtube_highlights", "clip_text", "txt_clip"),
    ],
)
@pytest.mark.parametrize("place", ["", "features"])
def test_features_are_found_under_published_names(
    home: Path, name: str, stream: str, published: str, place: str
) -> None:
    info = dataset_info(name)
    assert find_features(info, stream, home) is None
    (home / place / published).mkdir(parents=True)
    assert find_features(info, stream, home) == home / place / published


def test_folder_of_an_unknown_stream(home: Path) -> None:
    (home / "lite_features").mkdir()
    assert find_features(QVHL, "lite", home) == home / "lite_features"


# What a configuration needs.


def test_requirements(home: Path, config: Config) -> None:
    wanted = requirements(config, home)
    assert [item.what for item in wanted] == [
        "train annotations",
        "eval annotations",
        "slowfast features",
        "clip features",
        "clip_text features",
    ]
    assert not any(item.present for item in wanted)
    assert wanted[0].path == home / "highlight_train_release.jsonl"
    assert wanted[2].path == home / "slowfast_features"
    assert not is_complete(wanted)


def test_optional_query_features(home: Path, config: Config) -> None:
    assert [item.optional for item in requirements(config, home)] == [False] * 4 + [True]
    internvideo2 = requirements(load_config("qvhighlights-internvideo2"), home)
    assert not any(item.optional for item in internvideo2)


def test_nothing_is_said_when_all_is_there(home: Path, config: Config) -> None:
    for item in requirements(config, home)[:2]:
        touch(item.path)
    for item in requirements(config, home)[2:4]:
        item.path.mkdir()
    assert is_complete(requirements(config, home))
    assert missing_data_message(config, home) == ""


@pytest.mark.parametrize("name", available_configs())
def test_missing_files_fit_a_screen(home: Path, name: str) -> None:
    message = missing_data_message(load_config(name), home / "data")
    assert 3 < len(message.splitlines()) < 24
    assert str(home / "data") in message
    if name in CHARADES.configs + QVHL.configs:
        assert "vtg datasets pull" in message
        assert "vtg datasets check" in message


def test_manual_download_names_page_and_command(home: Path, config: Config) -> None:
    message = missing_data_message(config, dataset_folder(QVHL))
    assert "https://drive.google.com/file/d/1Hiln02F1NEpoW8-iPZurRyi-47-W2_B9/view" in message
    assert "vtg datasets add qvhighlights moment_detr_features.tar.gz" in message
    assert message.count("8 GB") == 1


def test_commands_lead_back_to_the_same_folder(home: Path, config: Config) -> None:
    folder = home / "my data" / "qvhighlight"
    message = missing_data_message(config, folder)
    assert f"--data '{folder}'" in message
    assert dataset_folder(QVHL, folder) == folder


def test_ones_own_data_has_the_same_layout(home: Path) -> None:
    config = load_config(
        "charades-sta-slowfast-clip",
        ["data.dataset=custom", "data.train_annotations=mine.jsonl", "data.eval_annotations=held.jsonl"],
    )
    touch(home / "mine.jsonl")
    (home / "clip_features").mkdir()
    assert [item.present for item in requirements(config, home)] == [True, False, False, True, False]
    assert "vtg datasets" not in missing_data_message(config, home)
