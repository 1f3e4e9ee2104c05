"""`vtg extract` and `vtg ground` on videos in object storage, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.buckets import SECRET, Bucket, troubled
from tests.cli.running import Running, clean_environment, vtg
from tests.extractors.index_encoder import make_video

LITE = ("--features", "lite")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four tiny videos."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(4):
        make_video(folder / f"v{number}.mp4", seconds=4, variant=number)
    return folder


@pytest.fixture
def filled(bucket: Bucket, videos: Path) -> Bucket:
    for video in videos.iterdir():
        bucket.put(f"videos/{video.name}", video.read_bytes())
    return bucket


@pytest.mark.slow
def test_killed_during_an_upload_and_run_again(
    filled: Bucket, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = f"{filled.url}/features"
    uploads = 0

    def second_upload(method: str, path: str) -> str | None:
        nonlocal uploads
        uploads += method == "PUT" and path.endswith(".npz")
        return "hang" if uploads == 2 else None

    command = ("extract", f"{filled.url}/videos/", *LITE, "--output", output)
    with troubled(filled.endpoint, second_upload) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        first = subprocess.Popen(
            [sys.executable, "-m", "vtg_cli.main", *command],
            env=clean_environment(tmp_path / "one"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert proxy.hanging.wait(120)
        first.kill()
        first.wait()
    assert [key for key in filled.all_keys() if key.endswith(".npz")] == ["features/lite_features/v0.npz"]

    with troubled(filled.endpoint, lambda method, path: None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        second = vtg(
            "-v", *command, "--devices", "cpu,cpu", "--report", tmp_path / "report", home=tmp_path / "two"
        )
        uploaded = {
            path.split("?")[0] for method, path in proxy.requests if method == "PUT" and ".npz" in path
        }
    assert second.returncode == 0, second.stderr
    assert "3 extracted" in second.stdout
    assert "1 already there, 0 failed" in second.stdout
    assert uploaded == {f"/{filled.name}/features/lite_features/v{number}.npz" for number in (1, 2, 3)}
    report = [json.loads(line) for line in (tmp_path / "report").read_text().splitlines()]
    assert sorted((row["path"], row["status"]) for row in report) == [
        (f"{filled.url}/videos/v{number}.mp4", "ok" if number else "skipped") for number in range(4)
    ]
    assert SECRET not in second.stdout + second.stderr

    local = vtg("extract", videos, *LITE, "--output", tmp_path / "out", home=tmp_path / "three")
    assert local.returncode == 0, local.stderr
    for number in range(4):
        name = f"lite_features/v{number}.npz"
        assert filled.get(f"features/{name}") == (tmp_path / "out" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("method", "end"), [("GET", ".mp4"), ("PUT", ".npz")])
def test_interrupted_while_the_storage_is_silent(
    filled: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, end: str
) -> None:
    def silent(of: str, path: str) -> str | None:
        return "hang" if of == method and path.endswith(end) else None

    with troubled(filled.endpoint, silent) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        arguments = ("extract", f"{filled.url}/videos/", *LITE, "-o", f"{filled.url}/out")
        with Running(*arguments, home=tmp_path) as command:
            assert proxy.hanging.wait(120)
            start_s = time.monotonic()
            assert command.end() == 130
            # Requests get 30 s of silence, which nobody waits for.
            assert time.monotonic() - start_s < 29
    assert "interrupted; what was finished is kept" in command.said["err"][-1]
    assert list((tmp_path / "vtg" / "scratch").iterdir()) == []
    assert not [key for key in filled.all_keys() if key.endswith(".npz")]


@pytest.mark.slow
def test_ground(filled: Bucket, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"{filled.url}/videos/v0.mp4"
    local = vtg("ground", videos / "v0.mp4", "a cat", *LITE, "--json", home=tmp_path / "local")
    with troubled(filled.endpoint, lambda method, path: None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        for downloads in (1, 1):
            remote = vtg("ground", address, "a cat", *LITE, "--json", home=tmp_path / "remote")
            assert remote.returncode == 0, remote.stderr
            (expected,) = json.loads(local.stdout)["results"]
            assert json.loads(remote.stdout)["results"] == [{**expected, "video": address}]
            assert [method for method, path in proxy.requests if path.endswith("v0.mp4")].count(
                "GET"
            ) == downloads


@pytest.mark.slow
def test_a_library_of_many_machines(bucket: Bucket, videos: Path, tmp_path: Path) -> None:
    here = (*LITE, "--library", f"{bucket.url}/library")
    made = vtg("index", "add", videos, *here, home=tmp_path / "one")
    assert made.returncode == 0, made.stderr
    assert made.stdout == f"{bucket.url}/library: 4 extracted; 4 videos in all\n"
    found = vtg("search", "a cat", "--json", *here, home=tmp_path / "two")
    assert found.returncode == 0, found.stderr
    (result,) = json.loads(found.stdout)["results"]
    assert result["videos"] == 4
    assert {hit["video"] for hit in result["hits"]} <= {str(path) for path in videos.iterdir()}
    removed = vtg("index", "remove", videos / "v0.mp4", *here[2:], home=tmp_path / "two")
    assert removed.stdout == f"{bucket.url}/library: 1 removed; 3 videos in all\n"
    info = vtg("index", "info", "--json", *here[2:], home=tmp_path / "one")
    assert json.loads(info.stdout)["folder"] == f"{bucket.url}/library"
    assert json.loads(info.stdout)["videos"] == 3
    assert SECRET not in made.stderr + found.stderr + found.stdout
    for home in ("one", "two"):  # nothing is left but the copies
        assert list((tmp_path / home / "vtg" / "library-copies").glob("*/folders/*")) == []


def test_a_lost_object_and_a_bucket_that_is_not_there(filled: Bucket, tmp_path: Path) -> None:
    lost = vtg("ground", f"{filled.url}/videos/no.mp4", "a cat", *LITE, home=tmp_path)
    assert lost.returncode == 1
    assert lost.stderr.splitlines()[-1] == f"vtg: {filled.url}/videos/no.mp4: there is no such object"
    nowhere = vtg("extract", "s3://no-such-bucket/videos/", *LITE, home=tmp_path)
    assert nowhere.returncode == 1
    assert nowhere.stderr.splitlines() == [
        "vtg: s3://no-such-bucket/videos/: there is no such bucket; check its name, and AWS_ENDPOINT_URL if it is not "
        "at Amazon"
    ]
    assert SECRET not in lost.stderr + nowhere.stderr


@pytest.mark.parametrize(
    "command", [("extract", "s3://bucket/videos/"), ("ground", "s3://bucket/a.mp4", "a cat")]
)
def test_without_the_extra(command: tuple[str, ...], tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['fsspec'] = None; sys.argv = ['vtg', *sys.argv[1:]]; "
        "from vtg_cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"vtg: {command[1]}: s3:// needs a package that is not installed (fsspec); pip install 'vtg[cloud]'\n"
    )


def test_files_need_no_package_for_object_storage(tmp_path: Path, videos: Path) -> None:
    code = (
        "import sys; from extractors.cache.store import FeatureCache; "
        "from extractors.extraction.options import ExtractionOptions; "
        "from extractors.extraction.pipeline import extract_features; "
        "from tests.extractors.index_encoder import IndexEncoder; "
        "report = extract_features([sys.argv[1]], [IndexEncoder()], FeatureCache(sys.argv[2]), "
        "ExtractionOptions(stall_s=None)); "
        "assert report.extracted == 1; "
        "assert not {'fsspec', 's3fs', 'asyncio', 'aiohttp'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code, videos / "v0.mp4", tmp_path], check=True, stdin=subprocess.DEVNULL
    )
