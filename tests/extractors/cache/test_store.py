"""The feature cache: what is stored comes out, and nothing else does."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
import zipfile
from copy import copy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.cache.entry import read_entry, write_entry
from extractors.cache.store import FeatureCache, default_root
from extractors.errors import CacheError, VideoError
from extractors.features import FeatureSpec, TextFeatures
from extractors.files.atomic import atomic_write, remove_leftovers
from extractors.files.identity import SAMPLE_BYTES, SAMPLES, file_identity
from extractors.videos.facts import VideoFacts, VideoInfo

REPO = Path(__file__).resolve().parents[3]
SPEC = FeatureSpec("clip", 4, 2.0, order=("clip:4",), weights_id="w1")
OTHER_WEIGHTS = FeatureSpec("clip", 4, 2.0, order=("clip:4",), weights_id="w2")
SLOWFAST = FeatureSpec("slowfast", 6, 2.0)
TEXT = FeatureSpec("clip", 5, 0.0, normalization="l2")
FEATURES = np.random.default_rng(0).normal(0, 11, (7, 4)).astype(np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return _video(tmp_path / "kitchen.mp4")


def _video(path: Path, content: bytes = b"not decoded here, only told apart by its bytes") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _info(path: Path) -> VideoInfo:
    return VideoInfo(path, 14.0, 29.97, 640, 360, 420, "h264", 0, "decord", "")


def _store(cache: FeatureCache, video: Path, spec: FeatureSpec = SPEC) -> Path:
    """Store features of a video; returns the entry."""
    cache.store_video(video, spec, np.resize(FEATURES, (7, spec.dim)), _info(video))
    return (
        cache.root
        / f"{spec.name}-{spec.digest()}"
        / f"{spec.name}_features"
        / f"{cache.identify(video).address}.npz"
    )


def _run(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPO,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _litter(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.suffix in (".tmp", ".lock")]


# --- videos ---------------------------------------------------------------------------------------


def test_round_trip_in_half_precision(cache: FeatureCache, video: Path) -> None:
    assert cache.load_video(video, SPEC) is None
    stored = cache.store_video(video, SPEC, FEATURES, _info(video))
    loaded = cache.load_video(video, SPEC)
    assert loaded is not None
    assert loaded.features.dtype == np.float32
    np.testing.assert_array_equal(loaded.features, FEATURES.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(stored.features, loaded.features)
    assert loaded.spec == SPEC
    assert loaded.info == _info(video)


def test_damage_is_part_of_an_entry(cache: FeatureCache, video: Path) -> None:
    damaged_s = ((0.5, 11.25), (30.0, 40.1))
    stored = cache.store_video(video, SPEC, FEATURES, _info(video), facts=VideoFacts(damaged_s))
    loaded = cache.load_video(video, SPEC)
    assert loaded is not None
    assert stored.facts == loaded.facts == VideoFacts(damaged_s)


@pytest.mark.parametrize(
    ("damaged_s", "valid"),
    [(None, True), ([], True), ([[1, 2]], True), ([[1]], False), (3, False), ([[0, float("inf")]], False)],
    ids=str,
)
def test_damage_in_an_entry_is_checked(
    cache: FeatureCache, video: Path, damaged_s: object, valid: bool
) -> None:
    """Entries of earlier versions say nothing of it, and are as good."""
    entry = _store(cache, video)
    found = read_entry(entry.read_bytes())
    assert found is not None
    arrays, record = found
    del record["damaged_s"]
    with entry.open("wb") as file:
        write_entry(file, arrays, record if damaged_s is None else {**record, "damaged_s": damaged_s})
    assert (cache.load_video(video, SPEC) is not None) == valid


def test_an_entry_is_a_published_feature_file(cache: FeatureCache, video: Path) -> None:
    entry = _store(cache, video)
    with np.load(entry, allow_pickle=False) as stored:
        assert stored["features"].dtype == np.float16
        np.testing.assert_array_equal(stored["features"], FEATURES.astype(np.float16))
    spec = json.loads((entry.parents[1] / "spec.json").read_text())
    assert FeatureSpec.from_json(spec) == SPEC


def test_content_is_the_address_not_the_name(cache: FeatureCache, video: Path, tmp_path: Path) -> None:
    _store(cache, video)
    copy = tmp_path / "elsewhere" / "renamed.mkv"
    copy.parent.mkdir()
    shutil.copy(video, copy)
    video.unlink()
    loaded = cache.load_video(copy, SPEC)
    assert loaded is not None
    assert loaded.info.path == copy
    copy.write_bytes(b"another video under the same name")
    assert cache.load_video(copy, SPEC) is None


def _between_samples(path: Path) -> int:
    """A place in a large video that no sample sees."""
    return (path.stat().st_size - SAMPLE_BYTES) // (SAMPLES - 1) + SAMPLE_BYTES + 1


def _edit(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A video that is sampled."""
    return _video(tmp_path / "large.mp4", os.urandom(3 * SAMPLES * SAMPLE_BYTES))


def test_edit_between_samples(cache: FeatureCache, large: Path) -> None:
    _store(cache, large)
    address = cache.identify(large).address
    assert cache.load_video(large, SPEC) is not None
    _edit(large, _between_samples(large))
    assert cache.identify(large).address == address
    assert cache.load_video(large, SPEC) is None
    cache.store_video(large, SPEC, FEATURES + 1, _info(large))
    loaded = cache.load_video(large, SPEC)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.features, (FEATURES + 1).astype(np.float16))


def test_difference_between_samples_is_seen(cache: FeatureCache, large: Path, tmp_path: Path) -> None:
    part = Path(shutil.copy(large, tmp_path / "part.mp4"))
    _edit(part, _between_samples(part))
    for video, other in ((large, part), (part, large)):
        _store(cache, video)
        assert cache.load_video(video, SPEC) is not None
        assert cache.load_video(other, SPEC) is None


def test_copied_and_moved_video_is_found(cache: FeatureCache, large: Path, tmp_path: Path) -> None:
    _store(cache, large)
    copy = Path(shutil.copy(large, tmp_path / "copy.mkv"))
    assert cache.load_video(copy, SPEC) is not None
    moved = large.rename(tmp_path / "moved.mp4")
    os.utime(moved, (1, 1))
    assert cache.load_video(moved, SPEC) is not None


def _as_of_version_0_1(entry: Path, identity: str, target: Path) -> None:
    """Rewrite an entry as the versions did that knew a video by samples alone."""
    entry_read = read_entry(entry.read_bytes())
    assert entry_read is not None
    arrays, record = entry_read
    del record["content"]
    with target.open("wb") as file:
        write_entry(file, arrays, {**record, "identity": identity})


def test_sampled_only_entry_is_missing(cache: FeatureCache, large: Path) -> None:
    entry = _store(cache, large)
    _as_of_version_0_1(entry, cache.identify(large).address, entry)
    assert cache.load_video(large, SPEC) is None
    assert cache.info().outdated == 1
    _store(cache, large)
    assert cache.load_video(large, SPEC) is not None
    assert cache.info().outdated == 0


def test_another_recipe_is_another_entry(cache: FeatureCache, video: Path) -> None:
    _store(cache, video)
    assert cache.load_video(video, OTHER_WEIGHTS) is None
    other = cache.store_video(video, OTHER_WEIGHTS, FEATURES + 1, _info(video))
    first, second = cache.load_video(video, SPEC), cache.load_video(video, OTHER_WEIGHTS)
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(second.features, other.features)
    assert not np.array_equal(first.features, second.features)


def test_storing_again_replaces(cache: FeatureCache, video: Path) -> None:
    _store(cache, video)
    cache.store_video(video, SPEC, FEATURES[:3], _info(video))
    loaded = cache.load_video(video, SPEC)
    assert loaded is not None
    assert loaded.features.shape == (3, 4)


@pytest.mark.parametrize(
    "features",
    [FEATURES[:, :3], FEATURES[0], FEATURES * np.nan, FEATURES + 1e6],
    ids=["dim", "one row", "nan", "beyond half precision"],
)
def test_features_must_match_the_spec(cache: FeatureCache, video: Path, features: np.ndarray) -> None:
    with pytest.raises(ValueError, match="clip"):
        cache.store_video(video, SPEC, features, _info(video))
    assert not list(cache.root.rglob("*.npz"))


def test_a_missing_video_is_a_video_error(cache: FeatureCache, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"gone\.mp4"):
        cache.load_video(tmp_path / "gone.mp4", SPEC)


# --- damage ---------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_entry_is_never_believed(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    cache, video = FeatureCache(folder / "cache"), _video(folder / "a.mp4")
    entry = _store(cache, video)
    whole = entry.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        entry.write_bytes(whole[:at])
    else:
        entry.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
    loaded = cache.load_video(video, SPEC)
    if loaded is not None:  # the archive has bytes that mean nothing, such as time stamps
        np.testing.assert_array_equal(loaded.features, FEATURES.astype(np.float16))
        assert loaded.info == _info(video)


def test_truncated_entry_is_replaced(cache: FeatureCache, video: Path) -> None:
    entry = _store(cache, video)
    entry.write_bytes(entry.read_bytes()[:-30])
    assert cache.load_video(video, SPEC) is None
    _store(cache, video)
    assert cache.load_video(video, SPEC) is not None


@pytest.mark.parametrize("kind", ["empty", "text", "published", "pickle", "one array"])
def test_foreign_files_are_missing_entries(cache: FeatureCache, video: Path, kind: str) -> None:
    entry = _store(cache, video)
    if kind == "empty":
        entry.write_bytes(b"")
    elif kind == "text":
        entry.write_text("<html>not found</html>")
    elif kind == "published":
        np.savez(entry, features=FEATURES.astype(np.float16))
    elif kind == "pickle":
        np.savez(entry, features=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    else:
        with entry.open("wb") as file:
            np.save(file, FEATURES)
    assert cache.load_video(video, SPEC) is None


def _packed(entry: Path, features: np.ndarray, compression: int) -> None:
    """Put other features into an entry, in an archive of another compression."""
    with zipfile.ZipFile(entry) as archive:
        record = archive.read("record.npy")
    with zipfile.ZipFile(entry, "w", compression) as archive:
        with archive.open("features.npy", "w", force_zip64=True) as file:
            np.save(file, features)
        archive.writestr("record.npy", record)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packed_entry_takes_no_memory(cache: FeatureCache, video: Path, compression: int) -> None:
    entry = _store(cache, video)
    _packed(entry, np.zeros((16 << 20, 4), np.float16), compression)
    assert entry.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        assert cache.load_video(video, SPEC) is None
        assert cache.info().outdated == 1
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_overlong_claim_takes_no_memory(cache: FeatureCache, video: Path) -> None:
    entry = _store(cache, video)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f2", "fortran_order": False, "shape": (16 << 20, 4)}
    )
    with zipfile.ZipFile(entry) as archive:
        record = archive.read("record.npy")
    with zipfile.ZipFile(entry, "w") as archive:
        archive.writestr("features.npy", header.getvalue())
        archive.writestr("record.npy", record)
    tracemalloc.start()
    try:
        assert cache.load_video(video, SPEC) is None
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_repeated_array_takes_no_memory(cache: FeatureCache, video: Path) -> None:
    entry = _store(cache, video)
    with zipfile.ZipFile(entry) as archive:
        record = archive.read("record.npy")
    with zipfile.ZipFile(entry, "w") as archive:
        with archive.open("features.npy", "w") as file:
            np.save(file, np.zeros((1 << 18, 4), np.float16))
        archive.writestr("record.npy", record)
        for number in range(200):
            alias = copy(archive.getinfo("features.npy"))
            alias.filename = f"a{number}.npy"
            archive.filelist.append(alias)
            archive.NameToInfo[alias.filename] = alias
    tracemalloc.start()
    try:
        assert cache.load_video(video, SPEC) is None
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_an_entry_larger_than_any_is_not_read(cache: FeatureCache, video: Path) -> None:
    entry = _store(cache, video)
    with entry.open("r+b") as file:
        file.truncate(1 << 40)  # a hole: nothing of it lies on the disk
    assert cache.load_video(video, SPEC) is None


def test_entry_of_another_video_or_recipe(cache: FeatureCache, video: Path, tmp_path: Path) -> None:
    entry = _store(cache, video)
    other = _video(tmp_path / "other.mp4", b"other")
    shutil.copy(entry, _store(cache, other))
    assert cache.load_video(other, SPEC) is None
    shutil.copy(entry, _store(cache, video, OTHER_WEIGHTS))
    assert cache.load_video(video, OTHER_WEIGHTS) is None


# --- text -----------------------------------------------------------------------------------------


def _text(seed: int) -> TextFeatures:
    rng = np.random.default_rng(seed)
    return TextFeatures(rng.normal(size=(9, 5)).astype(np.float32), rng.normal(size=8).astype(np.float32))


@pytest.mark.parametrize(
    "query", ["man opens fridge", "", "Ein Mann öffnet 冰箱 🧊", "a/b\\c:*?\n", "x" * 5000]
)
def test_queries_come_back(cache: FeatureCache, query: str) -> None:
    assert cache.load_text(query, TEXT) is None
    stored = cache.store_text(query, TEXT, _text(1))
    loaded = cache.load_text(query, TEXT)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.tokens, _text(1).tokens.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(loaded.pooled, _text(1).pooled.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(stored.tokens, loaded.tokens)
    assert cache.load_text(query + " ", TEXT) is None


def test_a_query_is_stored_under_the_published_names(cache: FeatureCache) -> None:
    cache.store_text("man opens fridge", TEXT, _text(2))
    (entry,) = cache.root.rglob("*_text_features/*.npz")
    with np.load(entry, allow_pickle=False) as stored:
        assert stored["last_hidden_state"].shape == (9, 5)
        assert stored["last_hidden_state"].dtype == np.float16
        assert stored["pooler_output"].shape == (8,)
    entry.write_bytes(entry.read_bytes()[:100])
    assert cache.load_text("man opens fridge", TEXT) is None


def test_text_of_another_shape_is_refused(cache: FeatureCache) -> None:
    with pytest.raises(ValueError, match=r"\(9, 4\)"):
        cache.store_text("q", TEXT, TextFeatures(_text(1).tokens[:, :4], _text(1).pooled))


# --- export ---------------------------------------------------------------------------------------


def test_export_writes_the_published_layout(cache: FeatureCache, video: Path, tmp_path: Path) -> None:
    _store(cache, video)
    _store(cache, video, SLOWFAST)
    written = cache.export(video, [SLOWFAST, SPEC], tmp_path / "out")
    assert written == [
        tmp_path / "out" / "slowfast_features" / "kitchen.npz",
        tmp_path / "out" / "clip_features" / "kitchen.npz",
    ]
    np.testing.assert_array_equal(np.load(written[1])["features"], FEATURES.astype(np.float16))
    assert np.load(written[0])["features"].shape == (7, 6)
    assert cache.export(video, [SLOWFAST, SPEC], tmp_path / "out") == written


def test_export_keeps_another_video(cache: FeatureCache, video: Path, tmp_path: Path) -> None:
    namesake = _video(tmp_path / "other" / "kitchen.mkv", b"other")
    for path in (video, namesake):
        _store(cache, path)
    (target,) = cache.export(video, [SPEC], tmp_path / "out")
    before = target.read_bytes()
    with pytest.raises(CacheError, match=r"kitchen\.npz"):
        cache.export(namesake, [SPEC], tmp_path / "out")
    assert target.read_bytes() == before


def test_export_replaces_its_own_file(cache: FeatureCache, large: Path, tmp_path: Path) -> None:
    entry = _store(cache, large)
    (target,) = cache.export(large, [SPEC], tmp_path / "out")
    _as_of_version_0_1(entry, file_identity(large), target)
    cache.export(large, [SPEC], tmp_path / "out")
    assert target.read_bytes() == entry.read_bytes()
    _edit(large, _between_samples(large))
    cache.store_video(large, SPEC, FEATURES + 1, _info(large))
    cache.export(large, [SPEC], tmp_path / "out")
    np.testing.assert_array_equal(np.load(target)["features"], (FEATURES + 1).astype(np.float16))


def test_export_of_what_is_missing_says_so(cache: FeatureCache, video: Path, tmp_path: Path) -> None:
    _store(cache, video)
    with pytest.raises(CacheError, match="no 'slowfast' features"):
        cache.export(video, [SLOWFAST], tmp_path / "out")


# --- housekeeping ---------------------------------------------------------------------------------


def test_info_counts_entries(cache: FeatureCache, video: Path, tmp_path: Path) -> None:
    assert cache.info().specs == ()
    entries = [
        _store(cache, video),
        _store(cache, _video(tmp_path / "b.mp4", b"b")),
        _store(cache, video, SLOWFAST),
    ]
    cache.store_text("q", TEXT, _text(1))
    info = cache.info()
    assert info.root == cache.root
    assert {usage.spec: usage.files for usage in info.specs} == {SPEC: 2, SLOWFAST: 1, TEXT: 1}
    by_spec = {usage.spec: usage.size_bytes for usage in info.specs}
    assert by_spec[SPEC] == sum(entry.stat().st_size for entry in entries[:2])
    assert info.files == 4
    assert info.size_bytes == sum(by_spec.values())


def test_clear_takes_entries_and_nothing_else(cache: FeatureCache, video: Path) -> None:
    _store(cache, video)
    _store(cache, video, OTHER_WEIGHTS)
    _store(cache, video, SLOWFAST)
    by_folder = _store(cache, video, FeatureSpec("clip", 4, 1.0)).parents[1].name
    mine = _video(cache.root / "notes" / "keep.npz", b"not an entry")
    assert cache.clear(by_folder).files == 1
    assert cache.clear(SPEC).files == 1
    assert cache.load_video(video, SPEC) is None
    assert cache.load_video(video, OTHER_WEIGHTS) is not None
    assert cache.clear("clip").files == 1
    assert cache.load_video(video, SLOWFAST) is not None
    cleared = cache.clear()
    assert cleared.files == 1
    assert cleared.size_bytes > 0
    assert cache.info().files == 0
    assert mine.exists()
    assert not list(cache.root.glob("*-*"))


def test_clear_forgets_which_files_were_read(
    cache: FeatureCache, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extractors.files.identity._SETTLED_NS", 0)
    _store(cache, video)
    records = cache.root / ".files"
    assert len(list(records.iterdir())) == 1
    cache.clear("slowfast")
    cache.clear(older_than_s=3600)
    assert len(list(records.iterdir())) == 1
    cache.clear()
    assert not list(records.iterdir())


def test_clear_by_age(cache: FeatureCache, video: Path, tmp_path: Path) -> None:
    old = _store(cache, video)
    young = _video(tmp_path / "b.mp4", b"b")
    _store(cache, young)
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    assert cache.clear(older_than_s=3600).files == 1
    assert cache.load_video(video, SPEC) is None
    assert cache.load_video(young, SPEC) is not None


def test_where_features_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VTG_CACHE", raising=False)
    monkeypatch.delenv("VTG_HOME", raising=False)
    assert default_root().parts[-2:] == ("vtg", "features")
    monkeypatch.setenv("VTG_HOME", str(tmp_path / "home"))
    assert default_root() == tmp_path / "home" / "features"
    monkeypatch.setenv("VTG_CACHE", str(tmp_path / "cache"))
    assert FeatureCache().root == tmp_path / "cache"
    assert not (tmp_path / "cache").exists()


def test_reading_needs_neither_torch_nor_a_decoder(cache: FeatureCache, video: Path) -> None:
    _store(cache, video)
    code = """
import sys
from extractors.features import FeatureSpec
from extractors.cache.store import FeatureCache
spec = FeatureSpec("clip", 4, 2.0, order=("clip:4",), weights_id="w1")
assert FeatureCache(sys.argv[1]).load_video(sys.argv[2], spec) is not None
heavy = {"torch", "decord", "av", "open_clip", "filelock", "platformdirs"} & set(sys.modules)
assert not heavy, heavy
"""
    process = _run(code, cache.root, video)
    assert process.wait() == 0, process.communicate()[1]


# --- the disk -------------------------------------------------------------------------------------


def test_unwritable_folder_is_a_cache_error(tmp_path: Path, video: Path) -> None:
    blocked = _video(tmp_path / "file") / "cache"
    with pytest.raises(CacheError, match="VTG_CACHE"):
        FeatureCache(blocked).store_video(video, SPEC, FEATURES, _info(video))
    with pytest.raises(CacheError, match="VTG_CACHE"):
        FeatureCache(blocked).try_claim("0" * 32)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_full_disk_keeps_the_old_entry(cache: FeatureCache, video: Path) -> None:
    entry = _store(cache, video)
    before = entry.read_bytes()
    code = """
import resource, sys
import numpy as np
from extractors.cache.store import FeatureCache
from extractors.errors import CacheError
from tests.extractors.cache.test_store import SPEC, _info
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    FeatureCache(sys.argv[1]).store_video(sys.argv[2], SPEC, np.zeros((4096, 4)), _info(sys.argv[2]))
except CacheError as error:
    print(error)
"""
    process = _run(code, cache.root, video)
    out, err = process.communicate()
    assert str(entry.name) in out, err
    assert entry.read_bytes() == before
    assert not _litter(cache.root)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = _video(tmp_path / "a.bin", b"old")

    def interrupted() -> None:
        with atomic_write(target) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_long_names(tmp_path: Path) -> None:
    target = tmp_path / ("ü" * 125 + ".npz")
    with atomic_write(target) as file:
        file.write(b"x")
    assert target.read_bytes() == b"x"


def test_leftovers_go_by_age_and_target(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        _video(tmp_path / f".{name}.0123456789ab.tmp")
    assert remove_leftovers(tmp_path, older_than_s=60) == 0
    assert remove_leftovers(tmp_path, "a.npz") == 1
    assert [path.name for path in tmp_path.iterdir()] == [".b.npz.0123456789ab.tmp"]


@pytest.mark.slow
def test_readers_see_complete_entries(cache: FeatureCache, video: Path) -> None:
    _store(cache, video)
    code = """
import sys
import numpy as np
from extractors.cache.store import FeatureCache
from tests.extractors.cache.test_store import SPEC, _info
for value in range(150):
    FeatureCache(sys.argv[1]).store_video(sys.argv[2], SPEC, np.full((3000, 4), value), _info(sys.argv[2]))
"""
    writers = [_run(code, cache.root, video) for _ in range(2)]
    reads = 0
    while any(writer.poll() is None for writer in writers):
        loaded = cache.load_video(video, SPEC)
        assert loaded is not None
        reads += 1
    assert [writer.wait() for writer in writers] == [0, 0]
    assert reads > 10
    assert not _litter(cache.root)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_kill_while_writing(cache: FeatureCache, video: Path) -> None:
    code = """
import sys
import numpy as np
from extractors.cache.store import FeatureCache
from tests.extractors.cache.test_store import SPEC, _info
features = np.zeros((400_000, 4))
cache = FeatureCache(sys.argv[1])
claim = cache.try_claim(cache.identify(sys.argv[2]).address)
while True:
    cache.store_video(sys.argv[2], SPEC, features, _info(sys.argv[2]))
    print("stored", flush=True)
"""
    interrupted = 0
    for attempt in range(8):
        writer = _run(code, cache.root, video)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "stored\n"
        time.sleep(0.004 * attempt)
        writer.kill()
        writer.communicate()
        interrupted += len(_litter(cache.root))
        loaded = cache.load_video(video, SPEC)
        assert loaded is not None
        assert loaded.features.shape == (400_000, 4)
        claim = cache.try_claim(cache.identify(video).address)
        assert claim is not None
        claim.release()
        assert not _litter(cache.root)
    assert interrupted > 0


# --- claims ---------------------------------------------------------------------------------------

_HOLD = """
import sys
from extractors.cache.store import FeatureCache
claim = FeatureCache(sys.argv[1]).try_claim("0" * 32)
print("held" if claim else "refused", flush=True)
sys.stdin.readline()
"""


def test_claim_is_exclusive(cache: FeatureCache) -> None:
    holder = _run(_HOLD, cache.root)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert cache.try_claim("0" * 32) is None
    with_other = cache.try_claim("1" * 32)
    assert with_other is not None
    with_other.release()
    cache.sweep()
    assert cache.try_claim("0" * 32) is None
    holder.kill()
    holder.wait()
    claim = cache.try_claim("0" * 32)
    assert claim is not None
    with claim:
        assert cache.try_claim("0" * 32) is None
    claim.release()
    assert not _litter(cache.root)


def test_claim_clears_leftovers(cache: FeatureCache, video: Path) -> None:
    entry = _store(cache, video)
    leftover = _video(entry.with_name(f".{entry.name}.0123456789ab.tmp"))
    other = _video(entry.with_name(f".{'f' * 32}.npz.0123456789ab.tmp"))
    _video(cache.root / ".claims" / f"{cache.identify(video).address}.lock")
    claim = cache.try_claim(cache.identify(video).address)
    assert claim is not None
    claim.release()
    assert not leftover.exists()
    assert other.exists()
    os.utime(other, (0, 0))
    cache.sweep()
    assert not other.exists()
    assert entry.exists()


def test_sweep_removes_claims_of_dead_processes(cache: FeatureCache) -> None:
    holder = _run(_HOLD, cache.root)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    assert _litter(cache.root)
    cache.sweep()
    assert not _litter(cache.root)
