"""Disks that are full, read-only or removed, and caches of another version: one clear line, nothing corrupt.

Where file systems can be mounted (by root), the tests use small ones that are really full. Elsewhere they use limits on
the size of files, and permissions.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from extractors.cache import entry
from extractors.cache.store import FeatureCache
from tests.cli.running import clean_environment, vtg
from tests.end_to_end.places import (
    Mount,
    command,
    entries,
    fill,
    leftovers,
    mounting,
    one_line,
    run,
    unmount,
)
from tests.extractors.index_encoder import make_video

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs the limits and permissions of POSIX"),
]

PAGE = 4096
LITE = ("--features", "lite", "--device", "cpu")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos, of which the fourth is long: its features take more than 10 kB, the others' less."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(6):
        make_video(folder / f"{number}.mp4", seconds=20.0 if number == 3 else 2.0, variant=number)
    return folder


@pytest.fixture(scope="module")
def whole(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with all features of the videos, made undisturbed."""
    home = tmp_path_factory.mktemp("whole")
    done = vtg("extract", videos, *LITE, home=home)
    assert done.returncode == 0, done.stderr
    assert vtg("ground", videos / "0.mp4", "a cup", *LITE, home=home).returncode == 0
    return home


@pytest.fixture
def mount() -> Iterator[Mount]:
    with mounting() as mount:
        yield mount


@pytest.fixture(params=["limit", "disk"])
def full(request: pytest.FixtureRequest) -> str:
    """Nothing more can be written: by a limit of the process, or on a disk that is full."""
    return str(request.param)


# --- full -----------------------------------------------------------------------------------------


def test_full_cache_keeps_complete_entries(
    videos: Path, whole: Path, full: str, mount: Mount, tmp_path: Path
) -> None:
    cache, report = tmp_path / "cache", tmp_path / "report.jsonl"
    arguments = ("extract", videos, *LITE, "--cache", cache, "--report", report)
    if full == "disk":
        filler = fill(mount(cache, "size=256k"), free=7 * PAGE)
        line = one_line(run(*arguments, home=tmp_path))
        assert "No space left on device: free some space" in line
        filler.unlink()
    else:
        line = one_line(run(*arguments, home=tmp_path, largest_file=10_000))
        assert "File too large" in line
    assert str(cache) in line
    assert "VTG_CACHE" in line

    expected = entries(whole / "vtg" / "features")
    kept = entries(cache)
    assert 0 < len(kept) < 6
    assert kept.items() <= expected.items()
    assert not leftovers(cache)
    assert [json.loads(row)["status"] for row in report.read_text().splitlines()] == ["ok"] * len(kept)

    done = run(*arguments, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{6 - len(kept)} extracted" in done.stdout
    assert f"{len(kept)} already there" in done.stdout
    assert entries(cache).items() <= expected.items()
    assert len(entries(cache)) == 6


ANSWERS = {
    "answers.csv": ("-o", "answers.csv"),
    "answers.edl": ("-o", "answers.edl"),
    "answers.png": ("--plot", "answers.png"),
    "answers.html": ("--html", "answers.html"),
    "clips": ("--clips", "clips"),
    "moments.mp4": ("--supercut", "moments.mp4"),
}


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_answers_that_find_no_room_are_named(
    name: str, videos: Path, whole: Path, full: str, mount: Mount, tmp_path: Path
) -> None:
    place = tmp_path / "answers"
    option, file = ANSWERS[name]
    arguments = ("ground", videos / "0.mp4", "a cup", "--all", *LITE, option, place / file)
    if full == "disk":
        filler = fill(mount(place, "size=8m"))
        done = run(*arguments, home=whole)
        filler.unlink()
    else:
        place.mkdir()
        done = run(*arguments, home=whole, largest_file=0)
    line = one_line(done)
    assert name in line
    assert ("free some space" if full == "disk" else "allows no larger file") in line
    assert not [path for path in place.rglob("*") if path.is_file()]
    again = run(*arguments, home=whole)
    assert again.returncode == 0, again.stderr
    assert (place / name).exists()


def test_a_report_that_finds_no_room_is_named(videos: Path, full: str, mount: Mount, tmp_path: Path) -> None:
    report, cache = tmp_path / "place" / "report.jsonl", tmp_path / "cache"
    arguments = ("extract", videos, *LITE, "--cache", cache, "--report", report)
    if full == "disk":
        filler = fill(mount(report.parent, "size=64k"))
        line = one_line(run(*arguments, home=tmp_path))
        filler.unlink()
    else:
        report.parent.mkdir()
        # Room for the features of the first video, for none of the report: it is written to as the video is done.
        report.symlink_to("/dev/full")
        line = one_line(run(*arguments, home=tmp_path))
        report.unlink()
    assert f"{report}: the report cannot be written (No space left on device: free some space)" in line
    assert "the same command continues" in line
    assert not leftovers(tmp_path)
    done = run(*arguments, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(report.read_text().splitlines()) == 6


def test_full_output_folder_is_named(
    videos: Path, whole: Path, full: str, mount: Mount, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    arguments = ("extract", videos, *LITE, "--output", output)
    if full == "disk":
        filler = fill(mount(output, "size=128k"), free=2 * PAGE)
        done = run(*arguments, home=whole)
        filler.unlink()
    else:
        done = run(*arguments, home=whole, largest_file=10_000)
    line = one_line(done)
    assert str(output) in line
    assert ".npz" in line
    assert "the same command continues" in line
    for path in output.rglob("*.npz"):
        with np.load(path) as arrays:
            assert np.isfinite(arrays["features"]).all()
    assert not leftovers(output)
    assert run(*arguments, home=whole).returncode == 0
    assert {path.stem for path in output.rglob("*.npz")} == set("012345")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("what", ["table", "json", "extract"])
def test_standard_output_that_finds_no_room(videos: Path, whole: Path, what: str) -> None:
    arguments: tuple[str | Path, ...] = ("ground", videos / "0.mp4", "a cup", *LITE)
    if what == "json":
        arguments = (*arguments, "--json")
    elif what == "extract":
        arguments = ("extract", videos, *LITE)
    with Path("/dev/full").open("wb") as device:
        line = one_line(run(*arguments, home=whole, stdout=device.fileno()))
    assert "standard output" in line
    assert "No space left on device" in line


def test_nobody_reads_on(videos: Path, whole: Path) -> None:
    """As `| head` does."""
    reading, writing = os.pipe()
    os.close(reading)
    done = run("ground", videos / "0.mp4", "a cup", *LITE, "--json", home=whole, stdout=writing)
    os.close(writing)
    assert done.returncode == 0
    assert done.stderr.replace("\n", "") == "" or done.stderr.startswith("note: ")


def test_ground_answers_with_a_full_disk(videos: Path, whole: Path, mount: Mount, tmp_path: Path) -> None:
    cache = mount(tmp_path / "cache", "size=64k")
    fill(cache)
    done = run("ground", videos / "0.mp4", "a cup", *LITE, "--cache", cache, "--json", home=tmp_path)
    _is_same_answer(done, videos / "0.mp4", whole)
    assert done.stderr.count("not kept") == 1
    assert "free some space" in done.stderr
    assert not entries(cache)
    assert not leftovers(cache)


# --- read-only ------------------------------------------------------------------------------------


@pytest.fixture(params=["permissions", "mount"])
def closed(
    request: pytest.FixtureRequest, whole: Path, videos: Path, mount: Mount, tmp_path: Path
) -> Iterator[Path]:
    """A cache that can be read and not be written, with the features of the first video and of a query."""
    cache = tmp_path / "cache"
    if request.param == "mount":
        mount(cache, "size=4m")
    for arguments in (("extract", videos / "0.mp4"), ("ground", videos / "0.mp4", "a cup")):
        assert run(*arguments, *LITE, "--cache", cache, home=tmp_path).returncode == 0
    if request.param == "mount":
        subprocess.run(["mount", "-o", "remount,ro", str(cache)], check=True)
        yield cache
        return
    modes = {path: path.stat().st_mode for path in (cache, *cache.rglob("*"))}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    yield cache
    for path, mode in modes.items():
        path.chmod(mode)


def test_extract_reports_a_read_only_cache(closed: Path, videos: Path, tmp_path: Path) -> None:
    before = entries(closed)
    arguments = ("extract", videos, *LITE, "--cache", closed)
    line = one_line(run(*arguments, home=tmp_path, privileged=False))
    assert f"cannot write {closed} (" in line
    assert "Read-only file system" in line or "Permission denied" in line
    assert "VTG_CACHE" in line
    assert entries(closed) == before
    # What is there needs no writing.
    done = run("extract", videos / "0.mp4", *LITE, "--cache", closed, home=tmp_path, privileged=False)
    assert done.returncode == 0, done.stderr
    assert "1 already there" in done.stdout


@pytest.mark.parametrize(
    ("video", "query", "kept"), [("0", "a cup", True), ("0", "a dog", False), ("1", "a cup", False)]
)
def test_ground_answers_with_a_read_only_cache(
    closed: Path, videos: Path, whole: Path, tmp_path: Path, video: str, query: str, kept: bool
) -> None:
    path = videos / f"{video}.mp4"
    arguments = ("ground", path, query, *LITE, "--cache", closed, "--json")
    done = run(*arguments, home=tmp_path, privileged=False)
    _is_same_answer(done, path, whole, query)
    assert done.stderr.count("not kept") == (0 if kept else 1)


def _is_same_answer(
    done: subprocess.CompletedProcess[str], video: Path, home: Path, query: str = "a cup"
) -> None:
    assert done.returncode == 0, done.stderr
    expected = vtg("ground", video, query, *LITE, "--json", home=home)
    assert json.loads(done.stdout) == json.loads(expected.stdout)


# --- gone -----------------------------------------------------------------------------------------


def _while_extracting(
    folder: Path, cache: Path, home: Path, act: Callable[[], None], *options: str | Path
) -> tuple[int, str, list[dict[str, str]]]:
    """Do something once the first video is done; exit code, standard error and report of the extraction."""
    report = home / "report.jsonl"
    process = subprocess.Popen(
        command("extract", folder, *LITE, "--cache", cache, "--report", report, *options),
        env=clean_environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline_s = time.monotonic() + 120
    while not (report.exists() and report.read_bytes().count(b"\n") >= 1):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    act()
    stderr = process.communicate(timeout=120)[1]
    assert "Traceback" not in stderr
    return process.returncode, stderr, [json.loads(row) for row in report.read_text().splitlines()]


@pytest.mark.parametrize("how", ["renamed", "unmounted"])
def test_removed_videos_are_done_later(
    videos: Path, whole: Path, mount: Mount, tmp_path: Path, how: str
) -> None:
    drive, cache, away = tmp_path / "drive", tmp_path / "cache", tmp_path / "away"
    if how == "unmounted":
        mount(drive, "size=64m")
    shutil.copytree(videos, drive, dirs_exist_ok=True)
    for number in range(6, 12):  # enough of them that some are still to come
        shutil.copy(videos / "0.mp4", drive / f"{number}.mp4")
        with (drive / f"{number}.mp4").open("ab") as file:
            file.write(bytes([number]))

    def go() -> None:
        if how == "unmounted":
            unmount(drive)
        else:
            drive.rename(away)

    code, stderr, rows = _while_extracting(drive, cache, tmp_path, go, "--output", tmp_path / "output")
    assert code == 1
    failed = [row for row in rows if row["status"] == "failed"]
    assert len(rows) == 12
    assert 0 < len(failed) < 12
    assert {row["reason"] for row in failed} == {"cannot be read: No such file or directory"}
    # The others were extracted, and written out as each was finished.
    assert stderr.count("No such file or directory") == len(failed)
    assert len(list((tmp_path / "output").rglob("*.npz"))) == 12 - len(failed)
    assert len(entries(cache)) == 12 - len(failed)
    assert not leftovers(cache)

    if how == "renamed":
        away.rename(drive)
        done = run("extract", drive, *LITE, "--cache", cache, home=tmp_path)
        assert done.returncode == 0, done.stderr
        assert f"{len(failed)} extracted" in done.stdout
        assert entries(whole / "vtg" / "features").keys() - entries(cache).keys() == {
            name for name in entries(whole / "vtg" / "features") if "text_features" in name
        }


def test_a_cache_that_goes_away_is_made_anew(videos: Path, whole: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code, stderr, rows = _while_extracting(videos, cache, tmp_path, lambda: cache.rename(tmp_path / "away"))
    if code == 0:
        assert [row["status"] for row in rows] == ["ok"] * 6
    else:  # it went away in the very moment of a write
        assert "VTG_CACHE" in stderr.splitlines()[-1]
    assert entries(cache).items() <= entries(whole / "vtg" / "features").items()
    assert not leftovers(cache)
    done = run("extract", videos, *LITE, "--cache", cache, home=tmp_path)
    assert done.returncode == 0
    assert len(entries(cache)) == 6


def test_removed_drive_is_named(videos: Path, tmp_path: Path) -> None:
    drive, away, file = tmp_path / "drive", tmp_path / "away", tmp_path / "file"
    away.mkdir()
    drive.symlink_to(away, target_is_directory=True)
    file.touch()

    def go() -> None:
        # In one step: after a removal, a write in that moment would make the folder again.
        file.replace(drive)

    code, stderr, rows = _while_extracting(videos, drive / "cache", tmp_path, go)
    assert code == 1
    assert "VTG_CACHE" in stderr.splitlines()[-1]
    assert str(drive / "cache") in stderr.splitlines()[-1]
    assert {row["status"] for row in rows} == {"ok"}
    (features,) = (away / "cache").glob("lite-*")
    assert not leftovers(features)


# --- of another version ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 2, None])
def test_other_versions_are_replaced(
    videos: Path, whole: Path, tmp_path: Path, version: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    shutil.copytree(whole, home)
    cache = home / "vtg" / "features"
    expected = entries(cache)
    # Wrong rows with a right checksum show whether the entry is trusted.
    monkeypatch.setattr(entry, "_FORMAT", version)
    for name, content in expected.items():
        arrays, record = _read_entry(content)
        buffer = io.BytesIO()
        entry.write_entry(buffer, {key: array * 0 + 1 for key, array in arrays.items()}, record)
        (cache / name).write_bytes(buffer.getvalue())
    mine = {
        "notes.txt": b"mine", "lite/0.npz": b"of an older layout", "lite-0123456789abcdef/spec.json": b"{}",
        "lite-0123456789abcdef/lite_features/0.npz": b"of an older recipe",
    }  # fmt: skip
    for name, content in mine.items():
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_bytes(content)

    told = run("cache", "info", home=home)
    assert told.returncode == 0
    assert f"{len(expected) + 1} of them are damaged or from another version" in " ".join(told.stdout.split())
    held = json.loads(run("cache", "info", "--json", home=home).stdout)
    assert sum(spec["outdated"] for spec in held["specs"]) == len(expected) + 1

    done = run("extract", videos, *LITE, home=home)
    assert done.returncode == 0, done.stderr
    assert "6 extracted" in done.stdout
    assert "0 already there" in done.stdout
    for query in ("a cup", "a dog"):  # one after the other, as they were first asked
        assert run("ground", videos / "0.mp4", query, *LITE, home=home).returncode == 0
    for name, content in expected.items():
        assert (cache / name).read_bytes() == content
    for name, content in mine.items():
        assert (cache / name).read_bytes() == content
    held = json.loads(run("cache", "info", "--json", home=home).stdout)
    assert sum(spec["outdated"] for spec in held["specs"]) == 1


def _read_entry(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    with np.load(io.BytesIO(content)) as stored:
        arrays = {key: stored[key] for key in stored.files if key != "record"}
        record = json.loads(str(stored["record"]))
    del record["checksum"]
    return arrays, record


# --- many -----------------------------------------------------------------------------------------

MANY = int(os.environ.get("VTG_MANY_FILES", "1200"))


def test_a_folder_of_very_many_files(videos: Path, whole: Path, tmp_path: Path) -> None:
    """Half are cached videos, a quarter links to one, a quarter no videos: time a file and memory stay what they are.

    `VTG_MANY_FILES` sets how many.
    """
    cache = FeatureCache(tmp_path / "cache")
    shutil.copytree(whole / "vtg" / "features", cache.root)
    specs = [usage.spec for usage in cache.info().specs if usage.spec is not None]
    (spec,) = (spec for spec in specs if spec.clip_length_s > 0)  # not the queries'
    content = (videos / "0.mp4").read_bytes()
    cached = cache.load_video(videos / "0.mp4", spec)
    assert cached is not None
    figures = []
    for count in (MANY // 4, MANY):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        for number in range(count):
            path = folder / f"{number:06}.mp4"
            if number % 4 == 3:
                path.write_text(f"These are notes, number {number}.")
            elif number % 4 == 1:
                path.hardlink_to(videos / "0.mp4")
            else:
                # Bytes behind the last box make another video of it.
                path.write_bytes(content + number.to_bytes(4, "big"))
                cache.store_video(path, spec, cached.features, cached.info)
        report, start_s = tmp_path / "report.jsonl", time.monotonic()
        process = subprocess.Popen(
            command("extract", folder, *LITE, "--cache", cache.root, "--report", report, "--quiet"),
            env=clean_environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 1
        rows = [json.loads(row) for row in report.read_text().splitlines()]
        assert [row["status"] for row in rows] == (["skipped"] * 3 + ["failed"]) * (count // 4)
        assert not leftovers(cache.root)
        figures.append((usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
        print(
            f"{count} files: {time.monotonic() - start_s:.1f} s, {figures[-1][0]:.1f} s of processor time, "
            f"{figures[-1][1]:.0f} MB"
        )
    assert figures[1][0] < 5 * figures[0][0]
    assert figures[1][1] - figures[0][1] < 30


def test_claims_take_no_longer_in_a_full_cache(tmp_path: Path) -> None:
    """What is looked through for leftovers is not every entry for every video."""
    cache = FeatureCache(tmp_path / "cache")
    full = tmp_path / "cache" / "lite-0123456789abcdef" / "lite_features"
    full.mkdir(parents=True)
    for number in range(10_000):
        (full / f"{number:032x}.npz").touch()
    start_s = time.monotonic()
    for number in range(300):
        claim = cache.try_claim(f"{number:032x}")
        assert claim is not None
        claim.release()
    assert time.monotonic() - start_s < 3.0
