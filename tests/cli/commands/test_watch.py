"""A watched folder: each video is answered once, when it is complete, and nothing there ends the watch."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.running import EXAMPLES, Running, clean_environment, vtg
from tests.extractors.rendering import render
from vtg_cli.watch import Arrivals, FileState, arriving, is_temporary, videos_in
from vtg_cli.writers.formats import Appender
from vtg_cli.writers.formats import formats as known_formats

A, B, C = Path("a.mp4"), Path("b.mp4"), Path("c.mp4")
EXAMPLE = EXAMPLES / "example.mp4"

WATCH = ("ground", "--watch")


def state(size: int, modified_ns: int = 0) -> FileState:
    return FileState(size, modified_ns)


def taken(arrivals: Arrivals, files: dict[Path, FileState], now_s: float) -> list[Path]:
    """The files that are ready, each of them taken."""
    ready = arrivals.look(files, now_s)
    for arrival in ready:
        arrivals.take(arrival)
    return [arrival.path for arrival in ready]


# Which file is ready.


def test_unchanged_file_is_ready():
    arrivals = Arrivals(2.0)
    assert taken(arrivals, {A: state(10)}, 0) == []
    assert arrivals.next_look_s(0.5) == 1.5
    assert taken(arrivals, {A: state(20)}, 1.9) == []  # it grew
    assert taken(arrivals, {A: state(20, 7)}, 3.0) == []  # it was written to
    assert taken(arrivals, {A: state(20, 7)}, 4.9) == []
    assert arrivals.waiting == (A,)
    assert taken(arrivals, {A: state(20, 7)}, 5.0) == [A]
    assert taken(arrivals, {A: state(20, 7)}, 99) == []  # once
    assert arrivals.waiting == ()
    assert arrivals.next_look_s(99) == float("inf")


def test_a_file_that_is_not_taken_comes_again():
    arrivals = Arrivals(1.0)
    for now_s in (0.0, 1.0, 2.0):
        ready = arrivals.look({A: state(1), B: state(1)}, now_s)
    assert [arrival.path for arrival in ready] == [A, B]
    arrivals.take(ready[0])
    assert [arrival.path for arrival in arrivals.look({A: state(1), B: state(1)}, 2.0)] == [B]


def test_paused_copy_is_read_again():
    arrivals = Arrivals(1.0)
    taken(arrivals, {A: state(10)}, 0)
    assert taken(arrivals, {A: state(10)}, 1) == [A]
    assert taken(arrivals, {A: state(20)}, 2) == []
    assert taken(arrivals, {A: state(20)}, 3) == [A]


def test_files_come_in_the_order_they_arrived():
    arrivals = Arrivals(1.0)
    taken(arrivals, {B: state(1)}, 0)
    taken(arrivals, {A: state(1), B: state(1), C: state(1)}, 0.5)
    assert taken(arrivals, {A: state(1), B: state(2), C: state(1)}, 0.9) == []
    assert taken(arrivals, {A: state(1), B: state(2), C: state(1)}, 2.0) == [B, A, C]


def test_existing_files_can_be_skipped():
    arrivals = Arrivals(1.0)
    arrivals.pass_over({A: state(10), B: state(10)})
    # One of them was still being copied.
    assert taken(arrivals, {A: state(10), B: state(15), C: state(1)}, 0) == []
    assert taken(arrivals, {A: state(10), B: state(15), C: state(1)}, 1) == [B, C]


def test_an_empty_file_is_waited_for():
    arrivals = Arrivals(1.0)
    assert taken(arrivals, {A: state(0)}, 0) == []
    assert taken(arrivals, {A: state(0)}, 50) == []
    assert arrivals.next_look_s(50) == float("inf")
    assert taken(arrivals, {A: state(5)}, 51) == []
    assert taken(arrivals, {A: state(5)}, 52) == [A]


def test_removed_and_renamed_files():
    arrivals = Arrivals(1.0)
    taken(arrivals, {A: state(1)}, 0)
    assert taken(arrivals, {B: state(1)}, 0.9) == []
    assert arrivals.waiting == (B,)
    assert taken(arrivals, {B: state(1)}, 2) == [B]
    assert taken(arrivals, {}, 3) == []
    assert taken(arrivals, {B: state(1)}, 4) == []  # a drive that was away for a moment
    assert taken(arrivals, {B: state(1)}, 9) == []


@given(
    st.lists(
        st.tuples(
            st.floats(0.01, 3),
            st.dictionaries(st.sampled_from([A, B, C]), st.integers(0, 3)),
        ),
        max_size=40,
    )
)
def test_each_state_is_handed_out_once(steps):
    arrivals, now_s = Arrivals(2.0), 0.0
    history: list[tuple[float, dict[Path, int]]] = []
    last: dict[Path, int] = {}
    for step_s, sizes in steps:
        now_s += step_s
        history.append((now_s, sizes))
        for arrival in arrivals.look({path: state(size) for path, size in sizes.items()}, now_s):
            path, size = arrival.path, arrival.state.size
            assert last.get(path) != size
            last[path] = size
            settled = [held for at_s, held in history if at_s > now_s - 2.0]
            assert all(held.get(path) == size for held in settled)
            assert any(held.get(path) == size for at_s, held in history if at_s <= now_s - 2.0)
            arrivals.take(arrival)


@pytest.mark.parametrize("name", [".v.mp4", "~v.mp4", "~$v.mp4", "v.part.mp4", "v.TEMP.mp4", "v.tmp.mkv"])
def test_temporary_names(name):
    assert is_temporary(name)


@pytest.mark.parametrize("name", ["v.mp4", "part.mp4", "v.part.1.mp4", "temp v.mp4", "v~.mp4"])
def test_names_that_people_give(name):
    assert not is_temporary(name)


def test_what_is_looked_for_in_a_folder(tmp_path):
    for name in ("b.mp4", "sub/a.MOV", ".hidden/c.mp4", "d.part.mp4", "notes.txt", ".e.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("12345")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    found = videos_in(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["b.mp4", "sub/a.MOV"]
    assert {held.size for held in found.values()} == {5}
    assert videos_in(tmp_path / "nowhere") == {}


@pytest.mark.parametrize("reports", [True, False], ids=["reports", "network-drive"])
def test_files_are_noticed_however_they_come(tmp_path, reports, monkeypatch):
    if not reports:
        # A system that tells nothing, as of files that another machine writes.
        monkeypatch.setattr("watchfiles.watch", lambda *_, **__: iter(()))
        monkeypatch.setattr("vtg_cli.watch._RESCAN_S", 0.6)
    folder, outside = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (outside / "many").mkdir(parents=True)
    for name in ("renamed.part", "many/moved.mp4"):
        (outside / name).write_text("video")
    (folder / "there.mp4").write_text("video")
    arrivals = arriving(folder, Arrivals(0.3))

    def happen() -> None:
        (outside / "renamed.part").replace(folder / "renamed.part")
        time.sleep(0.3)
        (folder / "renamed.part").replace(folder / "renamed.mp4")
        (outside / "many").replace(folder / "many")  # a whole folder at once

    assert next(arrivals).path == folder / "there.mp4"
    thread = threading.Thread(target=happen)
    thread.start()
    start_s = time.monotonic()
    assert {next(arrivals).path, next(arrivals).path} == {
        folder / "renamed.mp4",
        folder / "many" / "moved.mp4",
    }
    assert time.monotonic() - start_s < 4
    thread.join()


# What is written as answers come.


def test_files_grow_by_whole_lines(tmp_path):
    from tests.cli.writers.test_writers import answer

    by_name = {form.name: form for form in known_formats()}
    lines, table = tmp_path / "new" / "a.jsonl", tmp_path / "a.csv"
    for video in ("one.mp4", "two.mp4"):
        # Each time as a new program.
        Appender(str(lines), by_name["jsonl"]).append([answer(video), answer(video, query="a dog")])
        Appender(str(table), by_name["csv"]).append([answer(video)])
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(row["video"], row["query"]) for row in rows] == [
        ("one.mp4", "a cat"), ("one.mp4", "a dog"), ("two.mp4", "a cat"), ("two.mp4", "a dog"),
    ]  # fmt: skip
    text = table.read_text().splitlines()
    assert text[0].startswith("video,query")
    assert [line.split(",")[0] for line in text[1:]] == ["one.mp4"] * 4 + ["two.mp4"] * 4


def test_half_written_line_is_dropped(tmp_path):
    from tests.cli.writers.test_writers import answer

    path = tmp_path / "a.jsonl"
    path.write_text('{"schema": "vtg')
    Appender(str(path), next(form for form in known_formats() if form.name == "jsonl")).append(
        [answer("v.mp4")]
    )
    first, second = path.read_text().splitlines()
    assert first == '{"schema": "vtg'
    assert json.loads(second)["video"] == "v.mp4"


# The command.


def copy_in_two_halves(target: Path, pause_s: float) -> None:
    data = EXAMPLE.read_bytes()
    with target.open("wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        time.sleep(pause_s)
        file.write(data[len(data) // 2 :])


@pytest.mark.slow
def test_new_videos_are_answered_broken_ones_reported(tmp_path):
    folder, home, answers = tmp_path / "in", tmp_path / "home", tmp_path / "answers.jsonl"
    (folder / "sub").mkdir(parents=True)
    (folder / "there.mp4").write_bytes(EXAMPLE.read_bytes())
    command = (*WATCH, folder, "a cat", "a cup of coffee", "-k", "1", "-o", answers, "--settle", "1.5")
    with Running(*command, home=home) as watching:
        watching.wait_for("out", "there.mp4")
        # Slowly, with a pause that is shorter than it takes a file to count as whole; then with a longer one.
        copy_in_two_halves(folder / "slow.mp4", 1.0)
        watching.wait_for("out", "slow.mp4")
        copy_in_two_halves(folder / "sub" / "paused.mp4", 4.0)
        watching.wait_for("out", "paused.mp4")
        (folder / "notes.mp4").write_text("these are notes")
        watching.wait_for("err", "notes.mp4: not a video")
        (folder / ".hidden.mp4").write_bytes(EXAMPLE.read_bytes())
        (folder / "download.part.mp4").write_bytes(b"half")
        (tmp_path / "elsewhere").write_bytes(EXAMPLE.read_bytes())
        (tmp_path / "elsewhere").replace(folder / "moved.mp4")
        watching.wait_for("out", "moved.mp4")
        assert watching.end() == 1
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    names = ["there.mp4", "slow.mp4", "sub/paused.mp4", "moved.mp4"]
    assert [row["video"] for row in rows] == [str(folder / name) for name in names for _ in range(2)]
    assert [row["moments"][0]["start_s"] for row in rows] == [6.0, 21.0] * 4
    assert watching.said["err"][-1] == f"note: {folder}: 4 videos answered, 1 failed"
    told = [line for line in watching.said["err"] if line.startswith("vtg: ")]
    assert len([line for line in told if "notes.mp4" in line]) == 1
    assert all("notes.mp4" in line or "paused.mp4" in line for line in told)
    assert not any("Traceback" in line for line in watching.said["err"])


@pytest.mark.slow
def test_clips_and_a_supercut_of_what_arrived(tmp_path):
    folder, home = tmp_path / "in", tmp_path / "home"
    (folder / "sub").mkdir(parents=True)
    for name in ("old.mp4",):
        (folder / name).write_bytes(EXAMPLE.read_bytes())
    wanted = ("--clips", tmp_path / "clips", "--supercut", tmp_path / "all.mp4")
    command = (*WATCH, folder, "a cat", "-k", "1", "--json", "--settle", "0.5", "--new-only", *wanted)
    with Running(*command, home=home) as watching:
        watching.wait_for("err", "watching for videos")
        for name in ("one.mp4", "one.m4v", "sub/one.mp4"):
            (folder / name).write_bytes(EXAMPLE.read_bytes())
        watching.wait_for("out", "vtg.grounding/1", times=3)
        assert watching.end(signal.SIGTERM) == 0
    rows = [json.loads(line) for line in watching.said["out"]]
    assert [Path(row["video"]).relative_to(folder).as_posix() for row in rows] == [
        "one.m4v", "one.mp4", "sub/one.mp4",
    ]  # fmt: skip
    clips = sorted(
        path.relative_to(tmp_path / "clips").as_posix() for path in tmp_path.glob("clips/**/*.mp4")
    )
    assert clips == ["one.mp4_a-cat_01.mp4", "one_a-cat_01.mp4", "sub/one_a-cat_01.mp4"]
    from extractors.decoding.clip_reader import probe

    assert probe(tmp_path / "all.mp4").duration_s == pytest.approx(3 * 8, abs=0.2)


@pytest.mark.slow
def test_interrupt_is_not_a_failure(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        render(folder / f"{number}.mp4", frames=300 + number, fps=5, width=160, height=120)
    command = (*WATCH, folder, "a cat", "--json", "--settle", "0.3")
    with Running(*command, home=tmp_path / "home") as watching:
        watching.wait_for("out", "0.mp4")
        time.sleep(0.3)  # into the next
        assert watching.end() == 0
    counts = re.findall(r"(\d) videos? answered, (\d) still to come", watching.said["err"][-1])
    assert [int(answered) + int(waiting) for answered, waiting in counts] == [4]
    assert len(watching.said["out"]) == int(counts[0][0])
    assert not any(line.startswith(("vtg: ", "Traceback")) for line in watching.said["err"])


@pytest.mark.slow
def test_a_watch_ends_when_nobody_reads_it(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "one.mp4").write_bytes(EXAMPLE.read_bytes())
    command = [sys.executable, "-m", "vtg_cli.main", "ground", "--watch", str(folder), "a cat", "--json"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command, env=clean_environment(tmp_path), stdout=writing, stderr=subprocess.PIPE, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    os.close(writing)
    assert done.returncode == 0
    assert "1 video answered" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--watch", "nowhere", "a cat"), "does not exist"),
        (("--watch", "video.mp4", "a cat"), "is not a folder"),
        (("--watch", "in"), "query"),
        (("--watch", "in", " "), "query"),
        (("--watch", "in", "video.mp4", "a cat"), "is a file"),
        (("--watch", "in", "a cat", "--html", "a.html"), "hold one video"),
        (("--watch", "in", "a cat", "--plot", "a.png"), "hold one video"),
        (("--watch", "in", "a cat", "-o", "a.edl"), "csv or jsonl"),
        (("--watch", "in", "a cat", "--clips", "in/clips"), "would be grounded too"),
        (("--watch", "in", "a cat", "--supercut", "in/all.mp4"), "would be grounded too"),
        (("--watch", "in", "a cat", "--copy"), "--clips"),
        (("--watch", "in", "a cat", "-o", "-", "--format", "csv", "--json"), "once"),
        (("video.mp4", "a cat", "--new-only"), "--watch"),
        (("video.mp4",), "what to look for"),
        ((), "what to look for"),
    ],
)
def test_invalid_requests_are_usage_errors(arguments, word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "video.mp4").write_text("")
    done = vtg("ground", *arguments, home=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert word in done.stderr
    assert len(done.stderr.splitlines()) == 1
