"""Google Cloud Storage and Azure Blob Storage, by the emulators of both."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import fsspec
import pytest

from extractors.cache.store import FeatureCache
from extractors.errors import VideoError
from extractors.extraction.collect import collect_places
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import extract_features
from extractors.places import Address, place_of
from extractors.storage import filesystems
from extractors.storage.faults import StorageError
from extractors.storage.scratch import scratch_root
from extractors.videos.events import ExtractionReport
from tests.extractors.index_encoder import IndexEncoder, make_video

# A public key: that of every Azurite.
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _google(patch: pytest.MonkeyPatch) -> Iterator[None]:
    pytest.importorskip("gcsfs")
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    port = _free_port()
    patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    patch.setenv("FSSPEC_GS_TOKEN", "anon")
    # The emulator has none of what gcsfs would ask first.
    patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    with emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="films"):
        yield


def _azure(patch: pytest.MonkeyPatch) -> Iterator[None]:
    pytest.importorskip("adlfs")
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("azurite-blob is not on the path")
    port = _free_port()
    patch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={_KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;",
    )
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    process = subprocess.Popen([program, *options, "--blobPort", str(port)])
    try:
        while process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        fsspec.filesystem("az").mkdir("films")
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module", params=[("gs", _google), ("az", _azure)], ids=lambda param: param[0])
def bucket(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty bucket."""
    scheme, serve = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filesystems, "_opened", {})
        for _ in serve(patch):
            yield f"{scheme}://films"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(3):
        make_video(folder / f"v{number}.mp4", seconds=2 + number, variant=number)
    (folder / "v3.mp4").write_bytes(b"no video")
    return folder


def _extract(source: str | Path, cache: Path, output: str | Path) -> ExtractionReport:
    return extract_features(
        collect_places([source]),
        [IndexEncoder()],
        FeatureCache(cache),
        ExtractionOptions(stall_s=None, output=place_of(str(output))),
    )


def _statuses(report: ExtractionReport) -> list[str]:
    return [result.status for result in report.results]


def test_extraction(bucket: str, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTG_SCRATCH", str(tmp_path / "scratch"))
    storage = fsspec.filesystem(bucket.partition(":")[0])
    for video in videos.iterdir():
        storage.pipe_file(f"films/videos/{video.name}", video.read_bytes())
    _extract(videos, tmp_path / "local", tmp_path / "out")
    report = _extract(f"{bucket}/videos/", tmp_path / "remote", f"{bucket}/out")

    assert _statuses(report) == ["extracted"] * 3 + ["failed"]
    assert [str(result.path) for result in report.results] == [f"{bucket}/videos/v{n}.mp4" for n in range(4)]
    expected = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.npz")}
    there = [path for path in storage.find("films/out") if path.endswith(".npz")]
    assert {path.rpartition("/")[2]: storage.cat_file(path) for path in there} == expected
    assert len(expected) == 3
    assert list(scratch_root().iterdir()) == []
    # Another machine, without a cache, finds what is there.
    again = _extract(f"{bucket}/videos/", tmp_path / "another", f"{bucket}/out")
    assert _statuses(again) == ["cached"] * 3 + ["failed"]


def test_an_object_that_is_not_there(bucket: str, tmp_path: Path) -> None:
    report = _extract(f"{bucket}/no.mp4", tmp_path / "cache", f"{bucket}/out")
    assert isinstance(report.results[0].error, VideoError)
    assert "there is no such object" in str(report.results[0].error)


def test_a_library(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from model.search.storage.shared import SharedIndex
    from tests.model.search.test_index import check
    from tests.model.search.test_shared import add

    monkeypatch.setenv("VTG_HOME", str(tmp_path))
    address = place_of(f"{bucket}/library")
    assert isinstance(address, Address)
    library = SharedIndex(address)
    if bucket.startswith("gs:"):  # the emulator knows no conditions
        with pytest.raises(StorageError, match="keep the library in a folder"):
            add(library, "a")
        assert not library.exists
    else:
        add(library, "a")
        add(library, "b")
        check(library, {"a", "b"})
