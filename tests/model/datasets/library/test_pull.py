from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import socket
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from extractors.errors import UsageError
from extractors.weights import download
from model.dataset_entry import AnnotationFile, FeatureArchive, dataset_info
from model.datasets.library.catalogue import DatasetError
from model.datasets.library.pull import add_archive, add_file, pull_annotations, pull_archive
from tests.model.datasets.shop import Shop, open_shop

TACOS = dataset_info("tacos")
CHARADES = dataset_info("charades")
ROWS = b'{"qid": 1, "vid": "a"}\n' * 40_000
NPZ = io.BytesIO()
np.savez(NPZ, features=np.ones((4, 3), np.float16))
FEATURES = NPZ.getvalue()


@pytest.fixture
def shop() -> Iterator[Shop]:
    with open_shop() as shop:
        yield shop


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("HF_", "VTG_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(download, "BACKOFF_S", 0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "tacos"


def published(shop: Shop, content: bytes = ROWS, *names: str) -> AnnotationFile:
    names = names or ("train.jsonl",)
    shop.files |= {f"/{name}": content for name in names}
    urls = tuple(f"{shop.url}/{name}" for name in names)
    return AnnotationFile("train.jsonl", "train", 40_000, urls, len(ROWS), hashlib.sha256(ROWS).hexdigest())


def visible(folder: Path) -> list[str]:
    """Everything in a folder but the lock and what a transfer leaves to go on from."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return sorted(path for path in paths if not path.startswith("."))


# Annotations.


def test_annotations_are_downloaded(shop: Shop, folder: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = pull_annotations(
        TACOS, published(shop), folder, progress=lambda done, total: seen.append((done, total))
    )
    assert path == folder / "train.jsonl"
    assert path.read_bytes() == ROWS
    assert visible(folder) == ["train.jsonl"]
    assert seen[-1] == (len(ROWS), len(ROWS))


def test_what_is_there_is_left_alone(shop: Shop, folder: Path) -> None:
    (folder / "annotations").mkdir(parents=True)
    mine = folder / "annotations" / "train.jsonl"
    mine.write_text("mine")
    assert pull_annotations(TACOS, published(shop), folder) == mine
    assert shop.asked == []


def test_two_at_a_time_download_once(shop: Shop, folder: Path) -> None:
    item = published(shop)
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: pull_annotations(TACOS, item, folder), range(2)))
    assert paths == [folder / "train.jsonl"] * 2
    assert len(shop.asked) == 1


def test_broken_download_resumes(shop: Shop, folder: Path) -> None:
    shop.cuts = 1
    path = pull_annotations(TACOS, published(shop), folder)
    assert path.read_bytes() == ROWS
    assert [start for _, start in shop.asked] == [None, f"bytes={len(ROWS) // 2}-"]


def test_a_transfer_goes_on_in_another_process(shop: Shop, folder: Path) -> None:
    item = published(shop)
    shop.cuts = shop.patience = 1
    with pytest.raises(DatasetError, match="404"):
        pull_annotations(TACOS, item, folder)
    assert visible(folder) == []
    shop.patience = 9
    assert pull_annotations(TACOS, item, folder).read_bytes() == ROWS
    assert shop.asked[-1][1] == f"bytes={len(ROWS) // 2}-"


@pytest.mark.parametrize("content", [ROWS[:-1], b"x" + ROWS[1:], b""], ids=["short", "altered", "empty"])
def test_wrong_annotations_are_refused(shop: Shop, folder: Path, content: bytes) -> None:
    item = published(shop, content)
    with pytest.raises(DatasetError, match=r"train\.jsonl could not be downloaded"):
        pull_annotations(TACOS, item, folder)
    assert visible(folder) == []
    assert not list(folder.glob(".*.part"))
    shop.files["/train.jsonl"] = ROWS
    assert pull_annotations(TACOS, item, folder).read_bytes() == ROWS


def test_the_next_link_is_tried(shop: Shop, folder: Path) -> None:
    item = published(shop, ROWS, "gone.jsonl", "altered.jsonl", "train.jsonl")
    del shop.files["/gone.jsonl"]
    shop.files["/altered.jsonl"] = ROWS[:-2] + b"x\n"
    assert pull_annotations(TACOS, item, folder).read_bytes() == ROWS


def test_a_file_without_a_known_hash_is_counted(shop: Shop, folder: Path) -> None:
    item = dataclasses.replace(published(shop), size_bytes=None, sha256="")
    assert pull_annotations(TACOS, item, folder).read_bytes() == ROWS
    (folder / "train.jsonl").unlink()
    with pytest.raises(DatasetError, match="40000 annotations, while the published file has 39999"):
        pull_annotations(TACOS, dataclasses.replace(item, rows=39_999), folder)
    shop.files["/train.jsonl"] = b"<a web page>"
    with pytest.raises(DatasetError, match="not one JSON object per line"):
        pull_annotations(TACOS, item, folder)
    assert visible(folder) == []


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_offline_asks_for_nothing(
    shop: Shop, folder: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = published(shop)
    if how == "environment":
        monkeypatch.setenv("VTG_OFFLINE", "1")
    with pytest.raises(DatasetError, match="connections are switched off") as failure:
        pull_annotations(TACOS, item, folder, offline=how == "argument")
    assert item.urls[0] in str(failure.value)
    assert shop.asked == []


def test_missing_host_fails_fast(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BACKOFF_S", 60)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/train.jsonl"
    item = AnnotationFile("train.jsonl", "train", 1, (url,))
    with pytest.raises(DatasetError, match="cannot be reached"):
        pull_annotations(TACOS, item, folder)


def test_a_folder_that_cannot_be_made_is_named(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"file.*tacos: cannot be written to"):
        pull_annotations(TACOS, published(shop), tmp_path / "file" / "tacos")


# Archives that download as they are.


def hosted(shop: Shop, content: bytes) -> FeatureArchive:
    shop.files["/clip.tar"] = content
    return FeatureArchive(
        "clip.tar",
        "1 kB",
        ("clip",),
        "page",
        f"{shop.url}/clip.tar",
        (),
        len(content),
        hashlib.sha256(content).hexdigest(),
    )


def test_pull_archive(shop: Shop, folder: Path) -> None:
    archive = hosted(shop, tar({"any_name/a.npz": FEATURES, "any_name/b.npz": FEATURES}))
    shop.cuts = 1
    assert pull_archive(TACOS, archive, folder) == (folder / "clip_features",)
    assert visible(folder) == ["clip_features", "clip_features/a.npz", "clip_features/b.npz"]
    assert len(shop.asked) == 2
    assert pull_archive(TACOS, archive, folder) == (folder / "clip_features",)
    assert len(shop.asked) == 2


def test_a_corrupted_archive_is_not_unpacked(shop: Shop, folder: Path) -> None:
    archive = dataclasses.replace(hosted(shop, tar({"x/a.npz": FEATURES})), sha256="0" * 64)
    with pytest.raises(DatasetError, match="SHA-256"):
        pull_archive(TACOS, archive, folder)
    assert visible(folder) == []


def test_manual_archives_are_not_tried(folder: Path) -> None:
    (archive,) = TACOS.archives
    with pytest.raises(DatasetError, match=r"drive\.google\.com.*vtg datasets add tacos"):
        pull_archive(TACOS, archive, folder)


# Archives that a person brought.


def tar(
    files: dict[str, bytes], mode: str = "w", extra: Callable[[tarfile.TarFile], None] | None = None
) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if extra is not None:
            extra(archive)
    return packed.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


PACKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": zipped,
    "tar": tar,
    "tar.gz": lambda files: tar(files, "w:gz"),
    "tar.xz": lambda files: tar(files, "w:xz"),
}


@pytest.mark.parametrize("kind", PACKERS)
def test_feature_folders_are_found_at_any_depth(tmp_path: Path, folder: Path, kind: str) -> None:
    files = {
        "./features/tacos/slowfast_features/a.npz": FEATURES,
        "features/tacos/vid_clip/a.npz": FEATURES,
        "features/tacos/clip_text_features/qid1.npz": FEATURES,
        "features/tacos/clip_text_features/._qid1.npz": b"left behind",
        "features/tacos/resnet_features/a.npz": FEATURES,
        "features/README.md": b"read me",
        "features/tacos/clip_features/run.sh": b"echo",
    }
    packed = written(tmp_path / f"brought.{kind}", PACKERS[kind](files))
    added = add_archive(TACOS, packed, folder)
    assert set(added) == {folder / f"{stream}_features" for stream in ("slowfast", "clip", "clip_text")}
    assert visible(folder) == [
        "clip_features",
        "clip_features/a.npz",
        "clip_text_features",
        "clip_text_features/qid1.npz",
        "slowfast_features",
        "slowfast_features/a.npz",
    ]
    assert (folder / "clip_features" / "a.npz").read_bytes() == FEATURES
    assert packed.exists()


def test_only_the_read_folder_is_kept(tmp_path: Path, folder: Path) -> None:
    files = {"vgg_features/rgb_features/a.npy": b"rgb", "vgg_features/opt_features/a.npy": b"flow"}
    add_archive(CHARADES, written(tmp_path / "c.zip", zipped(files)), folder)
    assert visible(folder) == ["vgg_features", "vgg_features/a.npy"]
    assert (folder / "vgg_features" / "a.npy").read_bytes() == b"rgb"


def test_files_join_those_that_are_there(tmp_path: Path, folder: Path) -> None:
    written(folder / "vid_clip" / "old.npz", b"old")
    written(folder / "vid_clip" / "a.npz", b"replaced")
    packed = written(tmp_path / "more.zip", zipped({"clip_features/a.npz": FEATURES}))
    assert add_archive(TACOS, packed, folder) == (folder / "vid_clip",)
    assert visible(folder) == ["vid_clip", "vid_clip/a.npz", "vid_clip/old.npz"]
    assert (folder / "vid_clip" / "a.npz").read_bytes() == FEATURES


def test_unknown_folder_needs_a_stream(tmp_path: Path, folder: Path) -> None:
    packed = written(tmp_path / "mine.zip", zipped({"mine/a.npz": FEATURES}))
    with pytest.raises(DatasetError, match=r"'mine'.*--stream \(slowfast, clip, clip_text\)"):
        add_archive(TACOS, packed, folder)
    assert add_archive(TACOS, packed, folder, stream="clip") == (folder / "clip_features",)
    two = written(tmp_path / "two.zip", zipped({"mine/a.npz": FEATURES, "other/a.npz": FEATURES}))
    with pytest.raises(DatasetError, match="mine and other"):
        add_archive(TACOS, two, folder, stream="slowfast")
    assert visible(folder) == ["clip_features", "clip_features/a.npz"]


def test_archive_known_by_name(tmp_path: Path, folder: Path) -> None:
    info = dataset_info("charades")
    name = "charade_sta_internvideo2_videoclip_6b_w1s.tar.gz"
    packed = written(tmp_path / name, tar({"w1s/a.pt": b"rows"}))
    assert add_archive(info, packed, folder) == (folder / "internvideo2_features",)


def test_archive_hash_is_checked(tmp_path: Path, folder: Path) -> None:
    name = "qvhighlight_internvideo2_videoclip_6b_w2s.tar.gz"
    packed = written(tmp_path / name, tar({"x/a.pt": b"rows"}))
    with pytest.raises(DatasetError, match="1459896320"):
        add_archive(dataset_info("qvhl"), packed, folder)


def test_an_archive_without_features_says_so(tmp_path: Path, folder: Path) -> None:
    packed = written(tmp_path / "notes.zip", zipped({"README.md": b"read me"}))
    with pytest.raises(DatasetError, match="holds no feature files"):
        add_archive(TACOS, packed, folder)


def test_folders_and_missing_files(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        add_archive(TACOS, tmp_path, folder)
    with pytest.raises(UsageError, match="no such file"):
        add_file(TACOS, tmp_path / "absent.zip", folder)


def test_annotations_can_be_brought_too(tmp_path: Path, folder: Path, shop: Shop) -> None:
    info = dataclasses.replace(TACOS, annotations=(published(shop),))
    brought = written(tmp_path / "train.jsonl", ROWS)
    assert add_file(info, brought, folder) == (folder / "train.jsonl",)
    assert (folder / "train.jsonl").read_bytes() == ROWS
    with pytest.raises(DatasetError, match=r"while the published train\.jsonl has"):
        add_file(info, written(tmp_path / "train.jsonl", ROWS[:-1]), folder)


# Archives that are not to be trusted.


def with_member(name: str, kind: bytes, target: str = "") -> bytes:
    def add(archive: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        archive.addfile(member)

    return tar({"clip_features/a.npz": FEATURES}, extra=add)


def zip_link(name: str, target: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("clip_features/a.npz", FEATURES)
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, target)
    return packed.getvalue()


EVIL = {
    "tar, parent": tar({"clip_features/a.npz": FEATURES, "clip_features/../../evil.npz": b"x"}),
    "tar, absolute": tar({"clip_features/a.npz": FEATURES, "/clip_features/evil.npz": b"x"}),
    "tar, drive": tar({"clip_features/a.npz": FEATURES, "clip_features/C:evil.npz": b"x"}),
    "tar, backslashes": tar({"clip_features/a.npz": FEATURES, "clip_features\\..\\..\\evil.npz": b"x"}),
    "tar, symlink": with_member("clip_features/evil.npz", tarfile.SYMTYPE, "../../../outside"),
    "tar, folder symlink": with_member("clip_features", tarfile.SYMTYPE, "/tmp"),
    "tar, hard link": with_member("clip_features/evil.npz", tarfile.LNKTYPE, "/etc/passwd"),
    "tar, device": with_member("clip_features/evil.npz", tarfile.CHRTYPE),
    "tar, pipe": with_member("clip_features/evil.npz", tarfile.FIFOTYPE),
    "zip, parent": zipped({"clip_features/a.npz": FEATURES, "../clip_features/evil.npz": b"x"}),
    "zip, absolute": zipped({"clip_features/a.npz": FEATURES, "/evil.npz": b"x"}),
    "zip, drive": zipped({"clip_features/a.npz": FEATURES, "C:\\clip_features\\evil.npz": b"x"}),
    "zip, backslashes": zipped({"clip_features/a.npz": FEATURES, "..\\..\\evil.npz": b"x"}),
    "zip, symlink": zip_link("clip_features/evil.npz", "../../../outside"),
}


@pytest.mark.parametrize("name", EVIL)
def test_archive_reaching_outside_is_refused(tmp_path: Path, folder: Path, name: str) -> None:
    packed = written(tmp_path / "evil", EVIL[name])
    with pytest.raises(DatasetError, match="refused"):
        add_archive(TACOS, packed, folder)
    assert visible(tmp_path) == ["data", "data/tacos", "data/tacos/.lock", "evil"]


@pytest.mark.parametrize("kind", PACKERS)
def test_huge_archive_is_refused(tmp_path: Path, folder: Path, kind: str) -> None:
    packed = written(tmp_path / "bomb", PACKERS[kind]({"clip_features/a.npz": bytes(1_000_000)}))
    with pytest.raises(DatasetError, match=r"unpacks to more than 0\.0005 GB"):
        add_archive(TACOS, packed, folder, limit_bytes=500_000)
    unread = written(tmp_path / "unread", PACKERS[kind]({"filler.bin": bytes(1_000_000)}))
    with pytest.raises(DatasetError, match="unpacks to more"):
        add_archive(TACOS, unread, folder, limit_bytes=500_000)
    assert visible(folder) == []


@pytest.mark.parametrize("kind", PACKERS)
def test_a_cut_off_archive_leaves_nothing(tmp_path: Path, folder: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    whole = PACKERS[kind]({f"clip_features/{name}.npz": rng.bytes(700) for name in "abc"})
    end = whole.rstrip(b"\0") if kind == "tar" else whole
    for length in range(1, len(end) - 8, 97):
        packed = written(tmp_path / "cut", whole[:length])
        with pytest.raises(DatasetError):
            add_archive(TACOS, packed, folder)
        assert visible(folder) == []


def test_a_damaged_file_inside_is_noticed(tmp_path: Path, folder: Path) -> None:
    whole = bytearray(zipped({"clip_features/a.npz": np.random.default_rng(0).bytes(2000)}))
    whole[500] ^= 1
    with pytest.raises(DatasetError, match="damaged"):
        add_archive(TACOS, written(tmp_path / "flipped.zip", bytes(whole)), folder)
    assert visible(folder) == []


def test_non_archives_are_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DatasetError, match="not an archive"):
        add_archive(TACOS, written(tmp_path / "page.zip", b"<html>sign in</html>" * 100), folder)


def test_leftovers_of_a_kill_are_removed(tmp_path: Path, folder: Path) -> None:
    written(folder / ".unpack-dead" / "clip" / "a.npz", b"half")
    add_archive(TACOS, written(tmp_path / "c.zip", zipped({"clip_features/a.npz": FEATURES})), folder)
    assert not (folder / ".unpack-dead").exists()
