"""Videos in object storage: extracted as the same files on this machine are, and not twice."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from extractors.cache.store import FeatureCache
from extractors.errors import CacheError, VideoError
from extractors.extraction.collect import collect_places
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import encode_video, extract_features
from extractors.places import Address, Place, place_of
from extractors.storage import filesystems, retrying
from extractors.storage.scratch import scratch_root
from extractors.videos.events import Event, ExtractionReport, VideoFinished, VideoOpening, VideoStarted
from tests.buckets import Bucket, every_tenth, troubled
from tests.extractors.index_encoder import IndexEncoder, make_video

ENCODERS = (IndexEncoder(), IndexEncoder("motion", kind="slowfast"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five small videos."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(5):
        make_video(folder / f"v{number}.mp4", seconds=2 + number, variant=number)
    return folder


@pytest.fixture(autouse=True)
def _own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTG_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(retrying, "BACKOFF_S", 0.001)


@pytest.fixture
def filled(bucket: Bucket, videos: Path) -> Bucket:
    for video in videos.iterdir():
        bucket.put(f"videos/{video.name}", video.read_bytes())
    return bucket


def _extract(
    places: Sequence[str | Place],
    cache: Path,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    scratch_bytes: int = 1_000_000,
    events: list[Event] | None = None,
) -> ExtractionReport:
    options = ExtractionOptions(
        stall_s=None,
        overwrite=overwrite,
        scratch_bytes=scratch_bytes,
        output=None if output is None else place_of(str(output)),
    )
    return extract_features(
        collect_places(places),
        ENCODERS,
        FeatureCache(cache),
        options,
        on_event=None if events is None else events.append,
    )


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.npz")}


def _objects(bucket: Bucket, folder: str) -> dict[str, bytes]:
    prefix = f"{folder}/"
    return {
        key[len(prefix) :]: bucket.get(key)
        for key in bucket.all_keys()
        if key.startswith(prefix) and ".npz" in key
    }


def _statuses(report: ExtractionReport) -> list[str]:
    return [result.status for result in report.results]


def test_the_same_bytes_as_on_this_machine(filled: Bucket, videos: Path, tmp_path: Path) -> None:
    local = _extract([videos], tmp_path / "local", tmp_path / "out")
    events: list[Event] = []
    remote = _extract([f"{filled.url}/videos/"], tmp_path / "remote", f"{filled.url}/out", events=events)
    assert _statuses(remote) == _statuses(local) == ["extracted"] * 5
    assert _objects(filled, "out") == _files(tmp_path / "out")
    assert len(_files(tmp_path / "out")) == 10
    assert _files(tmp_path / "remote") == _files(tmp_path / "local")
    # Everything names the video as it was given, and nothing is left of the downloads.
    addresses = [f"{filled.url}/videos/v{number}.mp4" for number in range(5)]
    assert [str(result.path) for result in remote.results] == addresses
    assert {str(event.path) for event in events if hasattr(event, "path")} == set(addresses)
    assert any(isinstance(event, VideoOpening) for event in events)
    assert list(scratch_root().iterdir()) == []


def test_a_local_output_and_a_local_input(filled: Bucket, videos: Path, tmp_path: Path) -> None:
    _extract([videos], tmp_path / "cache", f"{filled.url}/out")
    _extract([f"{filled.url}/videos/"], tmp_path / "other", tmp_path / "out")
    assert _objects(filled, "out") == _files(tmp_path / "out")


def test_another_machine_goes_on_without_downloads(
    filled: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = f"{filled.url}/out"
    first = collect_places([f"{filled.url}/videos/"])[:3]
    assert _statuses(_extract(first, tmp_path / "one", output)) == ["extracted"] * 3
    with troubled(filled.endpoint, lambda method, path: None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        monkeypatch.setattr("extractors.storage.filesystems._opened", {})
        report = _extract([f"{filled.url}/videos/"], tmp_path / "two", output)
        read = [path for method, path in proxy.requests if method == "GET" and ".mp4" in path]
        written = [path for method, path in proxy.requests if method == "PUT" and ".npz" in path]
    assert _statuses(report) == ["cached"] * 3 + ["extracted"] * 2
    assert [result.duration_s for result in report.results] == pytest.approx([2, 3, 4, 5, 6])
    assert len(read) == 2
    assert len(written) == 4


def test_the_same_machine_goes_on_without_downloads(
    filled: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _extract([f"{filled.url}/videos/"], tmp_path / "cache")
    with troubled(filled.endpoint, lambda method, path: None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        monkeypatch.setattr("extractors.storage.filesystems._opened", {})
        report = _extract([f"{filled.url}/videos/"], tmp_path / "cache", f"{filled.url}/out")
        assert not [path for method, path in proxy.requests if method == "GET" and ".mp4" in path]
    assert _statuses(report) == ["cached"] * 5
    assert (
        _objects(filled, "out").keys() == _files(tmp_path / "cache").keys()
        or len(_objects(filled, "out")) == 10
    )


def test_other_content_is_extracted_again(filled: Bucket, videos: Path, tmp_path: Path) -> None:
    output = f"{filled.url}/out"
    _extract([f"{filled.url}/videos/v0.mp4"], tmp_path / "cache", output)
    filled.put("videos/v0.mp4", (videos / "v4.mp4").read_bytes())
    report = _extract([f"{filled.url}/videos/v0.mp4"], tmp_path / "other", output)
    # The name in the output is taken by the features of what the video was.
    (result,) = report.results
    assert result.status == "failed"
    assert "v0.npz holds features of another video or recipe than" in result.reason


def test_overwrite(filled: Bucket, tmp_path: Path) -> None:
    places, output = [f"{filled.url}/videos/v0.mp4"], f"{filled.url}/out"
    _extract(places, tmp_path / "cache", output)
    assert _statuses(_extract(places, tmp_path / "cache", output, overwrite=True)) == ["extracted"]


def test_damaged_features_are_not_trusted(filled: Bucket, tmp_path: Path) -> None:
    places, output = [f"{filled.url}/videos/v0.mp4"], f"{filled.url}/out"
    _extract(places, tmp_path / "one", output)
    whole = _objects(filled, "out")
    filled.put("out/index_features/v0.npz", whole["index_features/v0.npz"][:-20])
    (result,) = _extract(places, tmp_path / "two", output).results
    assert "its features are in the cache, but not in" in result.reason
    filled.delete("out/index_features/v0.npz")
    for cache in ("two", "three"):
        assert _statuses(_extract(places, tmp_path / cache, output)) == ["cached"]


@pytest.mark.parametrize("scratch_bytes", [0, 1, 30_000])
def test_little_room(filled: Bucket, tmp_path: Path, scratch_bytes: int) -> None:
    report = _extract([f"{filled.url}/videos/"], tmp_path / "cache", scratch_bytes=scratch_bytes)
    assert _statuses(report) == ["extracted"] * 5


def test_no_room_on_this_machine(filled: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTG_SCRATCH", "/dev/null/scratch")
    report = _extract([f"{filled.url}/videos/"], tmp_path / "cache")
    assert _statuses(report) == ["failed"] * 5
    reasons = {result.reason for result in report.results}
    assert reasons == {
        "cannot be kept on this machine (Not a directory); VTG_SCRATCH may name another folder"
    }


def test_broken_and_lost_objects_are_named(filled: Bucket, tmp_path: Path) -> None:
    filled.put("videos/v1.mp4", b"not a video")
    places = collect_places([f"{filled.url}/videos/"])
    filled.delete("videos/v3.mp4")
    report = _extract(places, tmp_path / "cache", f"{filled.url}/out")
    assert _statuses(report) == ["extracted", "failed", "extracted", "failed", "extracted"]
    broken, lost = (result for result in report.results if result.status == "failed")
    assert str(lost.error) == f"{filled.url}/videos/v3.mp4: there is no such object"
    assert str(broken.error).startswith(f"{filled.url}/videos/v1.mp4: ")
    assert "scratch" not in str(broken.error)
    assert sorted(_objects(filled, "out")) == [
        f"{name}_features/v{number}.npz" for name in ("index", "motion") for number in (0, 2, 4)
    ]


def test_every_tenth_request_fails(filled: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with troubled(filled.endpoint, every_tenth("fail", "drop", "cut", "slow down")) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        report = _extract([f"{filled.url}/videos/"], tmp_path / "cache", f"{filled.url}/out")
        assert len(proxy.requests) > 60
    assert _statuses(report) == ["extracted"] * 5
    monkeypatch.setenv("AWS_ENDPOINT_URL", filled.endpoint)
    monkeypatch.setattr(filesystems, "_opened", {})  # of the proxy that is gone
    again = _extract([f"{filled.url}/videos/"], tmp_path / "other", tmp_path / "out")
    assert _statuses(again) == ["extracted"] * 5
    assert _objects(filled, "out") == _files(tmp_path / "out")


def test_writing_is_denied(filled: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with troubled(filled.endpoint, lambda method, path: "deny" if method == "PUT" else None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with pytest.raises(
            CacheError, match=r"cannot write s3://.*npz: access is denied .*; the features are in the"
        ):
            _extract([f"{filled.url}/videos/"], tmp_path / "cache", f"{filled.url}/out")
    assert _objects(filled, "out") == {}
    assert list(scratch_root().iterdir()) == []


def test_uploads_hold_nothing_up(filled: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = (1, 0, 0, 2, 3, 4)  # one twice
    finished: list[str] = []

    def waits(method: str, path: str) -> str | None:
        return "wait" if method == "PUT" and path.endswith("v1.npz") else None

    with troubled(filled.endpoint, waits) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)

        def on_event(event: Event) -> None:
            if isinstance(event, VideoStarted) and event.path.name == "v4.mp4":
                assert "v1.mp4" not in finished
                proxy.go_on.set()
            if isinstance(event, VideoFinished):
                finished.append(event.path.name)

        report = extract_features(
            [f"{filled.url}/videos/v{name}.mp4" for name in names],
            ENCODERS,
            FeatureCache(tmp_path / "cache"),
            ExtractionOptions(stall_s=None, output=place_of(f"{filled.url}/out")),
            on_event=on_event,
        )
    assert _statuses(report) == ["extracted", "extracted", "cached", "extracted", "extracted", "extracted"]
    assert len(finished) == 6
    assert len(_objects(filled, "out")) == 10


def test_claimed_by_another_process(filled: Bucket, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "cache")
    content = _extract([f"{filled.url}/videos/v0.mp4"], tmp_path / "other")
    assert _statuses(content) == ["extracted"]
    (entry,) = (tmp_path / "other").glob("index-*/index_features/*.npz")
    claim = cache.try_claim(entry.stem)
    assert claim is not None
    finished = threading.Event()

    def on_event(event: Event) -> None:
        if isinstance(event, VideoFinished) and event.path.name != "v0.mp4":
            finished.set()
        if finished.is_set():
            claim.release()

    report = extract_features(
        collect_places([f"{filled.url}/videos/v0.mp4", f"{filled.url}/videos/v1.mp4"]),
        ENCODERS,
        cache,
        ExtractionOptions(stall_s=None, scratch_bytes=1),
        on_event=on_event,
    )
    assert _statuses(report) == ["extracted", "extracted"]


def test_one_video(filled: Bucket, tmp_path: Path) -> None:
    address = f"{filled.url}/videos/v2.mp4"
    features = encode_video(address, ENCODERS, FeatureCache(tmp_path), ExtractionOptions(stall_s=None))
    assert features["index"].info.path == place_of(address)
    assert len(features["index"].features) == 2
    with pytest.raises(VideoError, match="there is no such object"):
        encode_video(Address("s3", filled.name, "no.mp4"), ENCODERS, FeatureCache(tmp_path))


def test_memory(videos: Path, tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for video in videos.iterdir():
        memory.pipe_file(f"/pipeline/videos/{video.name}", video.read_bytes())
    for status in ("extracted", "cached"):
        report = _extract(["memory://pipeline/videos/"], tmp_path / status, "memory://pipeline/out")
        assert _statuses(report) == [status] * 5
    _extract([videos], tmp_path / "local", tmp_path / "out")
    there = memory.find("/pipeline/out", detail=False)
    assert {path.removeprefix("/pipeline/out/"): memory.cat_file(path) for path in there} == _files(
        tmp_path / "out"
    )
