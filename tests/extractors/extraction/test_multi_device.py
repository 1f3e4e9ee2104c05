"""Several processes on one list of videos, with crashes, errors and interrupts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from extractors.cache.store import FeatureCache
from extractors.decoding.grid import Sampling
from extractors.encoders.base import EncoderOptions, VideoEncoder
from extractors.errors import UsageError, VtgError, WeightsInvalid
from extractors.extraction.decode_ahead import DecodeAhead
from extractors.extraction.multi_device import extract_on_devices
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import extract_features
from extractors.subprocesses.cores import usable_cores
from extractors.videos.events import (
    Event,
    VideoFinished,
    VideoOpening,
    VideoProgress,
    VideoStarted,
    WorkerLost,
)
from tests.buckets import Bucket
from tests.extractors.index_encoder import IndexEncoder, centre_indices, make_video

REPO = Path(__file__).resolve().parents[3]
TWO = ("cpu", "cpu")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for variant in range(6):
        make_video(folder / f"v{variant}.mp4", variant=variant)
    return folder


@pytest.fixture
def six(rendered: Path, tmp_path: Path) -> list[Path]:
    """Videos of four clips each, free to be spoilt."""
    shutil.copytree(rendered, tmp_path / "videos")
    return sorted((tmp_path / "videos").iterdir())


@pytest.fixture
def videos(six: list[Path]) -> list[Path]:
    """Four of them."""
    for path in six[4:]:
        path.unlink()
    return six[:4]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder in which processes leave notes; their encoders get it as a weights file."""
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


@pytest.fixture(autouse=True)
def children_before() -> Iterator[set[psutil.Process]]:
    """The processes of other tests; after the test there are no others."""
    before = set(psutil.Process().children())
    yield before
    assert set(psutil.Process().children()) <= before


def _features(notes: Path) -> dict[str, EncoderOptions]:
    return {"index": EncoderOptions(weights={"index": notes})}


def _statuses(report: Any) -> list[str]:
    return [result.status for result in report.results]


def _litter(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.suffix in (".tmp", ".lock")]


def _assert_stored(cache: FeatureCache, *paths: Path) -> None:
    for path in paths:
        entry = cache.load_video(path, IndexEncoder().spec)
        assert entry is not None
        np.testing.assert_array_equal(entry.features, centre_indices(4))


class _Noting(IndexEncoder):
    """Notes which process encodes, and takes its time."""

    def __init__(self, notes: Path) -> None:
        super().__init__(batch_size=1, delay_s=0.1)
        self.notes = notes

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        (self.notes / f"{os.getpid()}").write_text(os.environ.get("OMP_NUM_THREADS", ""))
        return super().encode(clips)

    def is_first(self, what: str) -> bool:
        """Whether this process is the first of all to ask."""
        try:
            (self.notes / what).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class _Meeting(_Noting):
    """Goes on when another process encodes, too."""

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = super().encode(clips)
        deadline_s = time.monotonic() + 60
        while len(list(self.notes.iterdir())) < 2:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        return rows


class _Dying(_Noting):
    """Of all processes the first that encodes is killed over it."""

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.is_first("dead"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(clips)


class _DyingEarly(_Noting):
    """Of all processes the first is killed over a video that it has but opened, once another is done with one."""

    @property
    def sampling(self) -> Sampling:
        if self.is_first("dead"):
            deadline_s = time.monotonic() + 60
            while not (self.notes / "go").exists() and time.monotonic() < deadline_s:
                time.sleep(0.05)
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        return Sampling("center_frame", 2.0)

    @sampling.setter
    def sampling(self, value: Sampling) -> None:
        pass


class _Mortal(_Noting):
    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(clips)


class _Faulty(_Noting):
    """The first that encodes has a fault of its own."""

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.is_first("faulty"):
            raise RuntimeError("dead kernel")
        return super().encode(clips)


class _Damaged(_Noting):
    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise WeightsInvalid("weights.pkl: damaged")


class _Told(_Noting):
    """Of all processes the first that encodes is told to end."""

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.is_first("told"):
            os.kill(os.getpid(), signal.SIGTERM)
        return super().encode(clips)


class _Leaving(_Damaged):
    """Is told to end while what it raised is on its way out."""

    def __init__(self, notes: Path) -> None:
        super().__init__(notes)
        leave = DecodeAhead.__exit__

        def leave_and_hear(*arguments: Any) -> None:
            (notes / "told").touch()
            os.kill(os.getpid(), signal.SIGTERM)
            leave(*arguments)

        DecodeAhead.__exit__ = leave_and_hear  # type: ignore[method-assign] # in this process alone


# Processes import these by name.


def _notes_of(options: EncoderOptions) -> Path:
    assert options.device == "cpu"
    assert options.offline
    path = options.weights_path("index")
    assert path is not None
    return path


def load_noting(name: str, options: EncoderOptions) -> VideoEncoder:
    return _Noting(_notes_of(options))


def load_meeting(name: str, options: EncoderOptions) -> VideoEncoder:
    return _Meeting(_notes_of(options))


def load_dying(name: str, options: EncoderOptions) -> VideoEncoder:
    return _Dying(_notes_of(options))


def load_dying_early(name: str, options: EncoderOptions) -> VideoEncoder:
    return _DyingEarly(_notes_of(options))


def load_mortal(name: str, options: EncoderOptions) -> VideoEncoder:
    return _Mortal(_notes_of(options))


def load_faulty(name: str, options: EncoderOptions) -> VideoEncoder:
    return _Faulty(_notes_of(options))


def load_damaged(name: str, options: EncoderOptions) -> VideoEncoder:
    return _Damaged(_notes_of(options))


def load_told(name: str, options: EncoderOptions) -> VideoEncoder:
    return _Told(_notes_of(options))


def load_leaving(name: str, options: EncoderOptions) -> VideoEncoder:
    return _Leaving(_notes_of(options))


# --- together -------------------------------------------------------------------------------------


def test_processes_share_the_videos(six: list[Path], cache: FeatureCache, notes: Path) -> None:
    six[1].write_bytes(six[1].read_bytes()[:700])
    events: list[Event] = []
    paths = [*six, six[0]]
    report = extract_on_devices(
        paths,
        TWO,
        _features(notes),
        cache,
        on_event=events.append,
        load=load_meeting,
        options=ExtractionOptions(stall_s=60.0),
    )
    assert _statuses(report)[1:6] == ["failed", *["extracted"] * 4]
    assert sorted(_statuses(report)[::6]) == ["cached", "extracted"]  # one video given twice
    assert [result.path for result in report.results] == paths
    assert (report.extracted, report.cached, report.failed) == (5, 1, 1)
    assert sum(isinstance(event, VideoFinished) for event in events) == 7
    for path in six[2:]:
        own = [event for event in events if not isinstance(event, WorkerLost) and event.path == path]
        kinds = [type(event) for event in own if not isinstance(event, VideoOpening)]
        assert kinds == [VideoStarted, *[VideoProgress] * 4, VideoFinished]
    _assert_stored(cache, six[0], *six[2:])
    assert not _litter(cache.root)


def test_processes_share_the_objects(
    six: list[Path], cache: FeatureCache, notes: Path, bucket: Bucket
) -> None:
    for path in six[:5]:
        bucket.put(path.name, path.read_bytes())
    addresses = [f"{bucket.url}/{path.name}" for path in six[:5]]
    report = extract_on_devices(addresses, TWO, _features(notes), cache, load=load_meeting)
    assert _statuses(report) == ["extracted"] * 5


def test_what_is_cached_is_not_made_again(videos: list[Path], cache: FeatureCache, notes: Path) -> None:
    extract_features(videos[:3], [IndexEncoder()], cache)
    again = extract_on_devices(videos, TWO, _features(notes), cache, load=load_noting)
    assert _statuses(again) == ["cached", "cached", "cached", "extracted"]
    done = extract_on_devices(
        videos[:2], TWO, _features(notes), cache, options=ExtractionOptions(overwrite=True), load=load_noting
    )
    assert _statuses(done) == ["extracted", "extracted"]


def test_processes_on_the_cpu_share_its_cores(
    six: list[Path], cache: FeatureCache, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    extract_on_devices(six, TWO, _features(notes), cache, load=load_meeting)
    assert len(list(notes.iterdir())) == 2
    assert {file.read_text() for file in notes.iterdir()} == {str(max(usable_cores() // 2, 1))}
    assert "OMP_NUM_THREADS" not in os.environ


def test_no_more_processes_than_videos(videos: list[Path], cache: FeatureCache, notes: Path) -> None:
    report = extract_on_devices(videos[:1], ["cpu"] * 50, _features(notes), cache, load=load_noting)
    assert report.extracted == 1
    assert extract_on_devices([], TWO, _features(notes), cache, load=load_noting).results == ()


# --- what goes wrong ------------------------------------------------------------------------------


def test_dead_worker_fails_its_video(videos: list[Path], cache: FeatureCache, notes: Path) -> None:
    events: list[Event] = []
    report = extract_on_devices(
        videos,
        TWO,
        _features(notes),
        cache,
        on_event=events.append,
        load=load_dying,
        options=ExtractionOptions(stall_s=60.0),
    )
    assert sorted(_statuses(report)) == ["extracted"] * 3 + ["failed"]
    (failed,) = [result for result in report.results if result.status == "failed"]
    assert "SIGKILL" in failed.reason
    assert [event for event in events if isinstance(event, WorkerLost)] == [
        WorkerLost("cpu", "SIGKILL", (failed.path,))
    ]
    _assert_stored(cache, *(path for path in videos if path != failed.path))

    again = extract_on_devices(videos, TWO, _features(notes), cache, load=load_dying)
    assert (again.extracted, again.cached, again.failed) == (1, 3, 0)
    assert not _litter(cache.root)


@pytest.mark.parametrize("count", [2, 4])
def test_other_workers_finish_the_list(
    videos: list[Path], cache: FeatureCache, notes: Path, count: int
) -> None:
    lost = []

    def listen(event: Event) -> None:
        if isinstance(event, WorkerLost):
            lost.append(event.paths)
        elif isinstance(event, VideoFinished):
            (notes / "go").touch()

    report = extract_on_devices(
        videos[:count], TWO, _features(notes), cache, on_event=listen, load=load_dying_early
    )
    assert _statuses(report) == ["extracted"] * count
    assert lost == [()]
    _assert_stored(cache, *videos[:count])


def test_encoder_error_ends_one_worker(
    videos: list[Path], cache: FeatureCache, notes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = extract_on_devices(videos, TWO, _features(notes), cache, load=load_faulty)
    assert (report.extracted, report.failed) == (3, 1)
    (failed,) = [result for result in report.results if result.status == "failed"]
    assert "RuntimeError: dead kernel" in failed.reason
    assert "Traceback" in capfd.readouterr().err
    assert not _litter(cache.root)


def test_with_no_process_left_the_run_ends(videos: list[Path], cache: FeatureCache, notes: Path) -> None:
    events: list[Event] = []
    with pytest.raises(VtgError, match=r"no process is left for 2 of 4 videos.*cpu, ended: SIGKILL"):
        extract_on_devices(videos, TWO, _features(notes), cache, on_event=events.append, load=load_mortal)
    assert sum(isinstance(event, WorkerLost) for event in events) == 2
    assert sum(isinstance(event, VideoFinished) for event in events) == 2


def test_what_is_wrong_for_all_ends_the_run(videos: list[Path], cache: FeatureCache, notes: Path) -> None:
    with pytest.raises(WeightsInvalid, match=r"weights\.pkl: damaged"):
        extract_on_devices(videos, TWO, _features(notes), cache, load=load_damaged)
    assert not _litter(cache.root)


def test_worker_stops_in_order(videos: list[Path], cache: FeatureCache, notes: Path) -> None:
    lost = []

    def listen(event: Event) -> None:
        if isinstance(event, WorkerLost):
            lost.append(event.reason)

    report = extract_on_devices(
        videos,
        TWO,
        _features(notes),
        cache,
        on_event=listen,
        load=load_told,
        options=ExtractionOptions(stall_s=60.0),
    )
    assert lost == [f"exit code {128 + signal.SIGTERM}"]
    assert report.extracted + report.failed == 4
    assert report.failed <= 1
    assert not _litter(cache.root)


def test_an_end_while_leaving_leaves_nothing(videos: list[Path], cache: FeatureCache, notes: Path) -> None:
    with pytest.raises(WeightsInvalid, match=r"weights\.pkl: damaged"):
        extract_on_devices(
            videos,
            TWO[:1],
            _features(notes),
            cache,
            load=load_leaving,
            options=ExtractionOptions(stall_s=60.0),
        )
    assert (notes / "told").exists()
    assert not _litter(cache.root)


@pytest.mark.parametrize("devices", [["cpu", "gpu"], ["cpu:1"], []])
def test_unknown_devices_are_refused(
    devices: list[str], videos: list[Path], cache: FeatureCache, notes: Path
) -> None:
    with pytest.raises(UsageError):
        extract_on_devices(videos, devices, _features(notes), cache, load=load_noting)
    assert not list(notes.iterdir())


@pytest.mark.parametrize("fault", [KeyboardInterrupt, BrokenPipeError])
def test_an_interrupt_stops_all_processes(
    fault: type[BaseException],
    videos: list[Path],
    cache: FeatureCache,
    notes: Path,
    children_before: set[psutil.Process],
) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, VideoProgress):
            raise fault

    with pytest.raises(fault):
        extract_on_devices(
            videos,
            TWO,
            _features(notes),
            cache,
            on_event=listen,
            load=load_noting,
            options=ExtractionOptions(stall_s=60),
        )
    assert set(psutil.Process().children()) <= children_before
    assert not _litter(cache.root)
    report = extract_on_devices(videos, TWO, _features(notes), cache, load=load_noting)
    assert report.extracted + report.cached == 4


_EXTRACT = """
import signal

# A runner in the background hands down an ignored SIGINT; a user's terminal does not.
signal.signal(signal.SIGINT, signal.default_int_handler)
import sys
from pathlib import Path
from extractors.encoders.base import EncoderOptions
from extractors.cache.store import FeatureCache
from extractors.extraction.multi_device import extract_on_devices
from extractors.extraction.collect import collect_videos
from extractors.extraction.options import ExtractionOptions
from tests.extractors.extraction.test_multi_device import load_noting

if __name__ == "__main__":
    videos, cache, notes = sys.argv[1:]
    features = {"index": EncoderOptions(weights={"index": Path(notes)})}
    paths, options = collect_videos([videos]), ExtractionOptions(stall_s=60.0)
    extract_on_devices(paths, ("cpu", "cpu"), features, FeatureCache(cache), options, load=load_noting)
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["SIGINT", "SIGKILL"])
def test_no_process_outlives_the_run(
    videos: list[Path], cache: FeatureCache, notes: Path, tmp_path: Path, end: str
) -> None:
    script = tmp_path / "extract.py"
    script.write_text(_EXTRACT)
    run = subprocess.Popen(
        [sys.executable, str(script), str(videos[0].parent), str(cache.root), str(notes)],
        cwd=REPO,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    deadline_s = time.monotonic() + 60
    while len(list(notes.iterdir())) < 2:  # both are at work
        assert time.monotonic() < deadline_s
        assert run.poll() is None
        time.sleep(0.02)
    family = psutil.Process(run.pid).children(recursive=True)
    if end == "SIGINT":
        os.killpg(run.pid, signal.SIGINT)  # Ctrl-C reaches every process of a terminal
    else:
        run.kill()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    _, said = run.communicate(timeout=20)
    if end == "SIGINT":
        assert not _litter(cache.root)
        assert said.count("Traceback") == 1  # of the script itself
    report = extract_on_devices(videos, TWO, _features(notes), cache, load=load_noting)
    assert report.failed == 0
    _assert_stored(cache, *videos)
    assert not _litter(cache.root)
