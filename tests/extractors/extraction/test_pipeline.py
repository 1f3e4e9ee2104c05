"""From video files to cached features, with interruptions, broken files and other processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from extractors.cache.features import CachedFeatures
from extractors.cache.store import FeatureCache
from extractors.decoding.clip_reader import ClipReader, DecodingOptions
from extractors.decoding.decode import DecodeRequest
from extractors.decoding.subprocess_reader import DecodeProcess
from extractors.encoders.base import VideoEncoder
from extractors.errors import CacheError, UsageError, VideoError
from extractors.extraction import decode_ahead
from extractors.extraction.collect import collect_videos
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import encode_video, extract_features
from extractors.files import identity
from extractors.videos.events import (
    ClipsDecoded,
    DecoderEvent,
    Event,
    VideoFinished,
    VideoOpening,
    VideoProgress,
    VideoStarted,
    VideoWaiting,
)
from extractors.videos.facts import ClipChunk
from tests.extractors.index_encoder import IndexEncoder, centre_indices, make_video
from tests.extractors.rendering import render
from tests.shared_data import shared

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four videos of 8 s, and one of 21 s."""
    folder = tmp_path_factory.mktemp("videos")
    for variant in range(4):
        make_video(folder / "short" / f"v{variant}.mp4", variant=variant)
    make_video(folder / "long.mp4", seconds=21)
    return folder


@pytest.fixture
def videos(rendered: Path, tmp_path: Path) -> list[Path]:
    """The four short ones, free to be spoilt."""
    shutil.copytree(rendered / "short", tmp_path / "videos")
    return sorted((tmp_path / "videos").iterdir())


@pytest.fixture(autouse=True)
def no_thread_stays_behind() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "vtg-decode"] == []


def _features(cache: FeatureCache, path: Path, encoder: VideoEncoder) -> NDArray[np.float32]:
    entry = cache.load_video(path, encoder.spec)
    assert entry is not None
    return entry.features


def _statuses(report: Any) -> list[str]:
    return [result.status for result in report.results]


def _litter(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.suffix in (".tmp", ".lock")]


class _Reluctant(IndexEncoder):
    """Raises at its n-th batch."""

    def __init__(self, error: BaseException, *, at: int = 0, **options: Any) -> None:
        super().__init__(**options)
        self._error = error
        self._at = at

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        if len(self.batches) == self._at:
            raise self._error
        return super().encode(clips)


class _Small(IndexEncoder):
    """Has room for two clips, like a small GPU."""

    refused = 0

    def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        if len(clips) > 2:
            self.refused += 1
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().encode(clips)


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("chunk_s", [2.0, 5.0, 30.0])
def test_rows_match_their_clips(rendered: Path, cache: FeatureCache, chunk_s: float, batch_size: int) -> None:
    path = rendered / "long.mp4"
    centre = IndexEncoder(batch_size=batch_size)
    motion = IndexEncoder("motion", kind="slowfast", batch_size=batch_size)
    features = encode_video(path, [centre, motion], cache, options=ExtractionOptions(chunk_s=chunk_s))

    np.testing.assert_array_equal(features["index"].features, centre_indices(len(features["index"].features)))
    with ClipReader(path, [motion.sampling], DecodingOptions(chunk_s=1000.0)) as reader:
        (chunk,) = reader
        expected = IndexEncoder("motion", kind="slowfast").encode(chunk.frames[chunk.rows[0]])
    np.testing.assert_array_equal(features["motion"].features, expected)
    for encoder in (centre, motion):
        assert set(encoder.batches[:-1]) <= {batch_size}
        assert sum(encoder.batches) == len(features[encoder.spec.name].features)


def test_counts_of_rows_may_differ_between_encoders(cache: FeatureCache, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", seconds=6.7)
    features = encode_video(path, [IndexEncoder(), IndexEncoder("motion", kind="slowfast")], cache)
    assert features["index"].features.shape == (3, 1)
    assert features["motion"].features.shape == (4, 32)


def test_a_real_video_gives_its_clips(cache: FeatureCache) -> None:
    path = shared("videos/unitime_charades_3MSZA.mp4")
    features = encode_video(path, [IndexEncoder(batch_size=5)], cache)
    info = features["index"].info
    assert info.duration_s == pytest.approx(31.0, abs=0.5)
    assert len(features["index"].features) == int(info.duration_s * 0.5 + 0.5 + 1e-6)


# --- the cache ------------------------------------------------------------------------------------


def test_a_second_run_encodes_nothing(videos: list[Path], cache: FeatureCache) -> None:
    first = extract_features(videos, [IndexEncoder()], cache)
    assert _statuses(first) == ["extracted"] * 4
    assert (first.extracted, first.cached, first.failed) == (4, 0, 0)
    encoder = IndexEncoder()
    second = extract_features(videos, [encoder], cache)
    assert _statuses(second) == ["cached"] * 4
    assert encoder.batches == []
    assert [result.duration_s for result in second.results] == [result.duration_s for result in first.results]
    np.testing.assert_array_equal(_features(cache, videos[0], encoder), centre_indices(4))


def test_only_missing_features_are_made(videos: list[Path], cache: FeatureCache) -> None:
    encode_video(videos[0], [IndexEncoder()], cache)
    centre, motion = IndexEncoder(), IndexEncoder("motion", kind="slowfast")
    events: list[Event] = []
    features = encode_video(videos[0], [motion, centre], cache, on_event=events.append)
    assert list(features) == ["motion", "index"]
    assert centre.batches == []
    assert motion.batches == [4]
    (started,) = (event for event in events if isinstance(event, VideoStarted))
    assert started.clip_counts == {"motion": 4}


def test_an_entry_does_not_depend_on_what_is_made_beside_it(tmp_path: Path) -> None:
    path = render(tmp_path / "video.mp4", frames=90, fps=30)
    caches = [FeatureCache(tmp_path / name) for name in ("alone", "together")]
    encode_video(path, [IndexEncoder()], caches[0])
    encode_video(path, [IndexEncoder("motion", kind="slowfast"), IndexEncoder()], caches[1])
    (alone,), (together,) = (cache.root.rglob("index_features/*.npz") for cache in caches)
    assert alone.read_bytes() == together.read_bytes()


def test_overwrite_makes_them_again(videos: list[Path], cache: FeatureCache) -> None:
    extract_features(videos, [IndexEncoder()], cache)
    encoder = IndexEncoder()
    report = extract_features(
        [*videos, videos[0]], [encoder], cache, options=ExtractionOptions(overwrite=True)
    )
    assert _statuses(report) == ["extracted"] * 4 + ["cached"]
    assert sum(encoder.batches) == 16


def test_a_renamed_copy_is_the_same_video(videos: list[Path], cache: FeatureCache, tmp_path: Path) -> None:
    copy = tmp_path / "renamed.mkv"
    shutil.copy(videos[0], copy)
    encoder = IndexEncoder()
    report = extract_features([videos[0], copy, videos[0]], [encoder], cache)
    assert _statuses(report) == ["extracted", "cached", "cached"]
    assert sum(encoder.batches) == 4


def test_warm_and_cold_queries_see_the_same_numbers(videos: list[Path], cache: FeatureCache) -> None:
    class Thirds(IndexEncoder):
        def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
            return super().encode(clips) / 3

    cold = encode_video(videos[0], [Thirds()], cache)["index"]
    warm = encode_video(videos[0], [Thirds()], cache)["index"]
    np.testing.assert_array_equal(cold.features, warm.features)
    assert cold.info == warm.info


def test_a_damaged_entry_is_made_again(videos: list[Path], cache: FeatureCache) -> None:
    extract_features(videos, [IndexEncoder()], cache)
    (entry, *_) = sorted(cache.root.rglob("*.npz"))
    entry.write_bytes(entry.read_bytes()[:200])
    report = extract_features(videos, [IndexEncoder()], cache)
    assert (report.extracted, report.cached) == (1, 3)
    for path in videos:
        np.testing.assert_array_equal(_features(cache, path, IndexEncoder()), centre_indices(4))


# --- events ---------------------------------------------------------------------------------------


def test_events_tell_the_story_in_order(videos: list[Path], cache: FeatureCache) -> None:
    encode_video(videos[1], [IndexEncoder()], cache)
    told: list[Event] = []
    report = extract_features(
        videos[:3],
        [IndexEncoder(batch_size=1)],
        cache,
        on_event=told.append,
        options=ExtractionOptions(chunk_s=4.0),
    )
    for path in (videos[0], videos[2]):  # opening is told as often as it takes
        own = [type(event) for event in told if event.path == path]
        assert own[: own.index(VideoStarted)] == [VideoOpening] * own.count(VideoOpening) != []
    events = [event for event in told if not isinstance(event, VideoOpening)]
    kinds = [(type(event), event.path) for event in events]
    extracted = [VideoStarted, *[VideoProgress] * 4]
    assert [kind for kind, path in kinds if path == videos[0]][: len(extracted)] == extracted
    for path in (videos[0], videos[2]):
        own = [event for event in events if event.path == path]
        progress = [event for event in own if isinstance(event, VideoProgress)]
        assert isinstance(own[0], VideoStarted)
        assert isinstance(own[-1], VideoFinished)
        done_s = [event.done_s for event in progress]
        assert done_s == sorted(done_s)
        assert done_s[-1] == progress[-1].duration_s == own[0].info.duration_s == own[-1].duration_s
        assert own[0].clip_counts == {"index": 4}
    assert [type(event) for event in events if event.path == videos[1]] == [VideoFinished]
    finished = [event for event in events if isinstance(event, VideoFinished)]
    assert list(report.results) == finished
    assert [event.path for event in finished] == videos[:3]
    assert sum(event.seconds for event in finished) <= report.seconds


# --- what goes wrong ------------------------------------------------------------------------------


def test_broken_file_is_reported(videos: list[Path], cache: FeatureCache) -> None:
    videos[1].write_bytes(videos[1].read_bytes()[:700])
    missing = videos[0].with_name("gone.mp4")
    report = extract_features([*videos, missing], [IndexEncoder()], cache)
    assert _statuses(report) == ["extracted", "failed", "extracted", "extracted", "failed"]
    assert report.failed == 2
    assert report.results[1].reason
    assert "No such file" in report.results[4].reason
    assert not _litter(cache.root)


def test_encode_video_raises_what_is_wrong(cache: FeatureCache, tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    events: list[Event] = []
    with pytest.raises(VideoError, match=r"notes\.mp4"):
        encode_video(path, [IndexEncoder()], cache, on_event=events.append)
    assert {type(event) for event in events[:-1]} == {VideoOpening}
    assert isinstance(events[-1], VideoFinished)


def test_encoders_must_have_names_of_their_own(videos: list[Path], cache: FeatureCache) -> None:
    for encoders in ([], [IndexEncoder(), IndexEncoder()]):
        with pytest.raises(UsageError):
            extract_features(videos, encoders, cache)


def test_changing_file_is_not_stored(videos: list[Path], cache: FeatureCache) -> None:
    class Meddler(IndexEncoder):
        def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
            with videos[0].open("ab") as file:
                file.write(b"more")
            return super().encode(clips)

    # One clip a chunk: the encoder meddles long before the decoder is at the end.
    report = extract_features(
        [videos[0]], [Meddler(batch_size=1)], cache, options=ExtractionOptions(chunk_s=2.0)
    )
    assert "changed" in report.results[0].reason
    assert not list(cache.root.rglob("*.npz"))


def test_change_between_samples_is_not_stored(
    videos: list[Path], cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    _sample_sparsely(monkeypatch)
    size = videos[0].stat().st_size

    class Meddler(IndexEncoder):
        def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
            with videos[0].open("r+b") as file:
                file.seek(size // 4)
                file.write(b"other")
            return super().encode(clips)

    address = cache.identify(videos[0]).address
    report = extract_features(
        [videos[0]], [Meddler(batch_size=1)], cache, options=ExtractionOptions(chunk_s=2.0)
    )
    assert cache.identify(videos[0]).address == address
    assert "changed" in report.results[0].reason
    assert not list(cache.root.rglob("*.npz"))


def _sample_sparsely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a video be sampled at its ends and its middle only, as a far larger one is."""
    monkeypatch.setattr(identity, "SAMPLES", 3)
    monkeypatch.setattr(identity, "SAMPLE_BYTES", 16)
    monkeypatch.setattr(identity, "_SETTLED_NS", 0)


def test_replaced_video_is_noticed(
    cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _sample_sparsely(monkeypatch)
    path = render(
        tmp_path / "raw.avi", frames=80, fps=10, width=160, height=128, codec="rawvideo", pixel_format="bgr24"
    )
    before = encode_video(path, [IndexEncoder()], cache)["index"].features
    np.testing.assert_array_equal(before, centre_indices(4))
    address = cache.identify(path).address
    content = bytearray(path.read_bytes())
    size = 160 * 128 * 3
    starts = [match.end() + 4 for match in re.finditer(rb"00d[bc]" + size.to_bytes(4, "little"), content)]
    assert len(starts) == 80
    first, second = (slice(starts[frame], starts[frame] + size) for frame in (9, 29))
    content[first], content[second] = content[second], content[first]
    with path.open("r+b") as file:
        file.write(content)
    assert cache.identify(path).address == address  # so the samples have not seen it
    after = encode_video(path, [IndexEncoder()], cache)["index"].features
    np.testing.assert_array_equal(after, before[[1, 0, 2, 3]])


def test_a_large_copy_is_read_and_not_decoded(
    videos: list[Path], cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _sample_sparsely(monkeypatch)
    extract_features([videos[0]], [IndexEncoder()], cache)
    copy = Path(shutil.copy(videos[0], tmp_path / "copy.mp4"))
    decoder = IndexEncoder()
    assert _statuses(extract_features([copy, videos[0]], [decoder], cache)) == ["cached", "cached"]
    assert not decoder.batches


def test_vanishing_file_is_reported(
    videos: list[Path], cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract_features(videos, [IndexEncoder()], cache)
    load = FeatureCache.load_video

    def load_too_late(self: FeatureCache, path: Path, *arguments: Any, **options: Any) -> Any:
        if path == videos[1]:
            path.unlink(missing_ok=True)
        return load(self, path, *arguments, **options)

    monkeypatch.setattr(FeatureCache, "load_video", load_too_late)
    videos[1].touch()  # so that it has to be read again
    report = extract_features(videos, [IndexEncoder()], cache)
    assert _statuses(report) == ["cached", "failed", "cached", "cached"]
    assert "cannot be read" in report.results[1].reason


def test_a_long_reading_ends_with_the_run(
    videos: list[Path], cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_SETTLED_NS", 1 << 62)  # or a slow machine remembers what it read
    extract_features([videos[0]], [IndexEncoder()], cache)
    reading = threading.Event()
    read = identity.read_content

    def read_for_ever(file: Any, *, before_each_block: Any) -> str:
        reading.set()
        while True:
            before_each_block()
            time.sleep(0.01)

    monkeypatch.setattr(identity, "read_content", read_for_ever)
    with decode_ahead.DecodeAhead(
        enumerate([videos[0]]), [IndexEncoder()], cache, ExtractionOptions(chunk_s=2.0, stall_s=None)
    ):
        assert reading.wait(30)
    monkeypatch.setattr(identity, "read_content", read)
    assert _statuses(extract_features([videos[0]], [IndexEncoder()], cache)) == ["cached"]


def test_interrupt_drops_one_video(videos: list[Path], cache: FeatureCache) -> None:
    with pytest.raises(KeyboardInterrupt):
        extract_features(videos, [_Reluctant(KeyboardInterrupt(), at=3, batch_size=2)], cache)
    assert _features(cache, videos[0], IndexEncoder()).shape == (4, 1)
    assert [cache.load_video(path, IndexEncoder().spec) for path in videos[1:]] == [None] * 3
    assert not _litter(cache.root)
    report = extract_features(videos, [IndexEncoder()], cache)
    assert (report.extracted, report.cached) == (3, 1)


def test_encoder_error_is_raised(videos: list[Path], cache: FeatureCache) -> None:
    with pytest.raises(RuntimeError, match="dead kernel"):
        extract_features(videos, [_Reluctant(RuntimeError("dead kernel"))], cache)
    assert not _litter(cache.root)


def test_a_fault_of_the_listener_ends_the_run(videos: list[Path], cache: FeatureCache) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, VideoProgress):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        extract_features(videos, [IndexEncoder()], cache, on_event=listen)
    assert not _litter(cache.root)


def test_batches_shrink_to_the_memory_there_is(rendered: Path, cache: FeatureCache) -> None:
    encoder = _Small(batch_size=8)
    features = encode_video(rendered / "long.mp4", [encoder], cache)["index"].features
    np.testing.assert_array_equal(features, centre_indices(len(features)))
    assert max(encoder.batches) == 2
    assert encoder.refused == 2  # of 8 and of 4; what did not fit once is not tried again


def test_out_of_memory_fails_one_video(videos: list[Path], cache: FeatureCache) -> None:
    encoder = _Reluctant(MemoryError(), at=2, batch_size=1)
    report = extract_features(videos, [encoder], cache, options=ExtractionOptions(chunk_s=2.0))
    assert _statuses(report) == ["failed"] * 4
    assert "out of memory" in report.results[0].reason
    assert not _litter(cache.root)


def test_batches_span_videos(
    videos: list[Path], cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        decode_ahead.DecodeAhead, "is_idle", False
    )  # as when the decoder is ahead of the encoders
    encoder = IndexEncoder(batch_size=6, shares_batches=True)
    report = extract_features(videos, [encoder], cache)
    assert _statuses(report) == ["extracted"] * 4
    assert encoder.batches == [6, 6, 4]  # each video has 4 clips
    for path in videos:
        np.testing.assert_array_equal(_features(cache, path, encoder), centre_indices(4))


def test_unshared_batches_hold_one_video(
    videos: list[Path], cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode_ahead.DecodeAhead, "is_idle", False)
    encoder = IndexEncoder(batch_size=3)
    extract_features(videos, [encoder], cache)
    assert encoder.batches == [3, 1] * 4


def test_oversized_clip_fails_its_video(videos: list[Path], cache: FeatureCache, tmp_path: Path) -> None:
    long = make_video(tmp_path / "long.mp4", seconds=16.0, variant=1)

    class Narrow(IndexEncoder):
        def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
            time.sleep(0.2)
            rows = super().encode(clips)
            if rows.max() > 100:  # frames that only the long video has
                raise MemoryError
            return rows

    report = extract_features(
        [videos[0], long, videos[1]], [Narrow(batch_size=5, shares_batches=True)], cache
    )
    assert _statuses(report) == ["extracted", "failed", "extracted"]
    assert "out of memory" in report.results[1].reason
    for path in videos[:2]:
        np.testing.assert_array_equal(_features(cache, path, IndexEncoder()), centre_indices(4))


def test_infinite_values_are_not_stored(videos: list[Path], cache: FeatureCache) -> None:
    class Overflowing(IndexEncoder):
        def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
            return super().encode(clips) * np.inf

    report = extract_features(videos[:1], [Overflowing()], cache)
    assert "not finite" in report.results[0].reason
    assert not list(cache.root.rglob("*.npz"))


def test_read_only_cache_stops_the_run(videos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    encoder = IndexEncoder()
    with pytest.raises(CacheError):
        extract_features(videos, [encoder], FeatureCache(tmp_path / "file" / "cache"))
    assert encoder.batches == []


# --- files ----------------------------------------------------------------------------------------


def test_a_file_is_opened_few_times(videos: list[Path], tmp_path: Path) -> None:
    """To name its content, to hash it, to see that it did not change, and once before FFmpeg opens it."""
    code = """
import os, sys
opened = []
sys.addaudithook(lambda name, args: opened.append(args[0]) if name == "open" else None)
from extractors.cache.store import FeatureCache
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import extract_features
from tests.extractors.index_encoder import IndexEncoder
options = ExtractionOptions(stall_s=None)
assert extract_features([sys.argv[1]], [IndexEncoder()], FeatureCache(sys.argv[2]), options).extracted == 1
print(sum(isinstance(path, (str, os.PathLike)) and os.fspath(path) == sys.argv[1] for path in opened))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(videos[0]), str(tmp_path / "cache")],
        env=os.environ | {"PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == 4


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stall_s", [None, 60.0], ids=["this process", "subprocess"])
@pytest.mark.parametrize("delay_s", [0.0, 0.05], ids=["decoder is slower", "encoder is slower"])
def test_few_chunks_are_in_memory_at_once(
    rendered: Path,
    cache: FeatureCache,
    monkeypatch: pytest.MonkeyPatch,
    delay_s: float,
    stall_s: float | None,
) -> None:
    alive: weakref.WeakSet[_Frames] = weakref.WeakSet()
    most = chunks = 0

    class _Frames(np.ndarray[Any, Any]):
        """An array that can be told from others when it is freed."""

        __hash__ = object.__hash__

    def watch(chunk: ClipChunk) -> ClipChunk:
        nonlocal most, chunks
        frames = chunk.frames.view(_Frames)
        alive.add(frames)
        most, chunks = max(most, len(alive)), chunks + 1
        return ClipChunk(chunk.start_clip, frames, chunk.rows)

    def receive(*arguments: Any) -> DecoderEvent:
        event = original(*arguments)
        return ClipsDecoded(event.index, watch(event.chunk)) if isinstance(event, ClipsDecoded) else event

    if stall_s is None:
        chunks_of = ClipReader.__iter__
        monkeypatch.setattr(ClipReader, "__iter__", lambda self: map(watch, chunks_of(self)))
    original = DecodeProcess._receive
    monkeypatch.setattr(DecodeProcess, "_receive", receive)
    paths = [rendered / "long.mp4", *sorted((rendered / "short").iterdir())]
    encoders = [IndexEncoder(delay_s=delay_s), IndexEncoder("motion", kind="slowfast", batch_size=3)]
    report = extract_features(paths, encoders, cache, options=ExtractionOptions(chunk_s=2.0, stall_s=stall_s))
    assert report.extracted == 5
    assert chunks > 20
    assert most <= 3


def test_next_video_is_decoded_ahead(
    videos: list[Path], cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    second_is_open = threading.Event()
    original = DecodeProcess.decode

    def watched(process: DecodeProcess, request: DecodeRequest) -> Iterator[DecoderEvent]:
        opened.append(request.path)
        for event in original(process, request):
            if len(opened) == 2 and isinstance(event, ClipsDecoded):
                second_is_open.set()
            yield event

    class Patient(IndexEncoder):
        def encode(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
            assert second_is_open.wait(30)
            return super().encode(clips)

    monkeypatch.setattr(DecodeProcess, "decode", watched)
    assert extract_features(videos[:2], [Patient()], cache).extracted == 2


# --- processes ------------------------------------------------------------------------------------

_EXTRACT = """
import signal

# A runner in the background hands down an ignored SIGINT; a user's terminal does not.
signal.signal(signal.SIGINT, signal.default_int_handler)
import sys
from extractors.cache.store import FeatureCache
from extractors.extraction.collect import collect_videos
from extractors.extraction.pipeline import extract_features
from tests.extractors.index_encoder import IndexEncoder
encoder = IndexEncoder(batch_size=1, delay_s=float(sys.argv[3]))
print("ready", flush=True)
sys.stdin.readline()
report = extract_features(collect_videos([sys.argv[1]]), [encoder], FeatureCache(sys.argv[2]))
print(report.extracted, report.cached, report.failed, sum(encoder.batches))
"""


def _extracting(folder: Path, root: Path, delay_s: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _EXTRACT, str(folder), str(root), str(delay_s)],
        cwd=REPO,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _start(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT"])
@pytest.mark.parametrize("whole", [1, 2])
def test_a_killed_run_goes_on_where_it_was(
    videos: list[Path], cache: FeatureCache, whole: int, end: str
) -> None:
    process = _extracting(videos[0].parent, cache.root, 0.1)
    _start(process)
    deadline_s = time.monotonic() + 60
    while len(list(cache.root.rglob("*.npz"))) < whole:
        assert time.monotonic() < deadline_s
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(0.1)  # into the next video
    os.kill(process.pid, signal.Signals[end])
    process.communicate(timeout=30)
    if end == "SIGINT":
        assert not _litter(cache.root)

    finished = {path: path.stat() for path in cache.root.rglob("*.npz")}
    assert whole <= len(finished) < len(videos)
    encoder = IndexEncoder()
    report = extract_features(videos, [encoder], cache)
    assert (report.extracted, report.cached) == (4 - len(finished), len(finished))
    assert sum(encoder.batches) == 4 * report.extracted
    for path, before in finished.items():
        after = path.stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    for path in videos:
        np.testing.assert_array_equal(_features(cache, path, encoder), centre_indices(4))
    assert not _litter(cache.root)


@pytest.mark.slow
def test_two_processes_share_the_work(videos: list[Path], cache: FeatureCache) -> None:
    processes = [_extracting(videos[0].parent, cache.root, 0.1) for _ in range(2)]
    for process in processes:
        _start(process)
    outputs = [process.communicate(timeout=120) for process in processes]
    assert all(process.returncode == 0 for process in processes), outputs
    counts = np.array([[int(field) for field in out.split()] for out, _ in outputs])  # (2, 4)
    extracted, cached, failed, clips = counts.T
    assert extracted.sum() == 4
    assert clips.sum() == 16
    assert failed.sum() == 0
    assert (extracted + cached == 4).all()
    assert (extracted > 0).all()
    for path in videos:
        np.testing.assert_array_equal(_features(cache, path, IndexEncoder()), centre_indices(4))
    assert not _litter(cache.root)


def test_claimed_video_comes_last(videos: list[Path], cache: FeatureCache) -> None:
    claim = cache.try_claim(cache.identify(videos[0]).address)
    assert claim is not None
    order = []

    def listen(event: Event) -> None:
        order.append((type(event), event.path))
        if isinstance(event, VideoWaiting):
            claim.release()

    report = extract_features(videos, [IndexEncoder()], cache, on_event=listen)
    assert [result.path for result in report.results] == videos
    assert [path for kind, path in order if kind is VideoFinished] == [*videos[1:], videos[0]]
    assert (VideoWaiting, videos[0]) in order


def test_interrupt_while_waiting(videos: list[Path], cache: FeatureCache) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, VideoWaiting):
            raise KeyboardInterrupt

    claim = cache.try_claim(cache.identify(videos[0]).address)
    assert claim is not None
    with claim, pytest.raises(KeyboardInterrupt):
        encode_video(videos[0], [IndexEncoder()], cache, on_event=listen)


# --- finding videos -------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in ("b.mp4", "a.MKV", "notes.txt", ".hidden.mp4", "sub/c.webm", "sub/deep/d.avi", ".git/e.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "empty").mkdir()
    return root


def _names(root: Path, *paths: str | Path) -> list[str]:
    return [video.relative_to(root).as_posix() for video in collect_videos([root / path for path in paths])]


def test_folders_are_searched_in_order(tree: Path) -> None:
    assert _names(tree, ".") == ["a.MKV", "b.mp4", "sub/c.webm", "sub/deep/d.avi"]


def test_files_are_collected_once(tree: Path) -> None:
    assert _names(tree, "notes.txt", "b.mp4", "sub", "sub/../b.mp4", ".") == [
        "notes.txt",
        "b.mp4",
        "sub/c.webm",
        "sub/deep/d.avi",
        "a.MKV",
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.mp4", ["b.mp4"]),
        ("*", ["a.MKV", "b.mp4", "sub/c.webm", "sub/deep/d.avi"]),
        ("**/*.[aw]*", ["sub/c.webm", "sub/deep/d.avi"]),
        ("sub/**", ["sub/c.webm", "sub/deep/d.avi"]),
    ],
)
def test_patterns_stand_for_what_they_match(tree: Path, pattern: str, names: list[str]) -> None:
    assert _names(tree, pattern) == names


def test_file_named_like_a_pattern(tree: Path) -> None:
    (tree / "take[1].mp4").touch()
    assert _names(tree, "take[1].mp4") == ["take[1].mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_links_are_followed_but_not_for_ever(tree: Path, tmp_path: Path) -> None:
    (tree / "sub" / "back").symlink_to(tree)
    (tree / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f.mp4").touch()
    assert _names(tree, ".") == ["a.MKV", "b.mp4", "out/f.mp4", "sub/c.webm", "sub/deep/d.avi"]


def test_all_that_is_missing_is_named(tree: Path) -> None:
    with pytest.raises(UsageError) as caught:
        collect_videos([tree / "gone.mp4", tree / "b.mp4", tree / "empty", tree / "*.mov"])
    message = str(caught.value)
    assert "gone.mp4 does not exist" in message
    assert "empty holds no video" in message
    assert "*.mov matches no video" in message
    assert "b.mp4" not in message


def test_cached_features_report_cached(videos: list[Path], cache: FeatureCache) -> None:
    features = encode_video(videos[0], [IndexEncoder()], cache)["index"]
    assert isinstance(features, CachedFeatures)
    assert features.spec == IndexEncoder().spec
    assert features.info.path == videos[0]
