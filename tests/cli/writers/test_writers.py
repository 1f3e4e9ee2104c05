"""Files for other programs, read back by independent readers."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlparse
from xml.etree import ElementTree as ET

import av
import jsonschema
import opentimelineio as otio
import pysubs2
import pytest
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from extractors.errors import UsageError, VtgError
from model.grounding.results import GroundingResult, Moment, Saliency
from tests.cli.running import EXAMPLES, vtg
from tests.extractors.rendering import render
from vtg_cli.terminal.timecode import has_drop_frame, smpte, smpte_frame, subtitle_time
from vtg_cli.writers import csv_table
from vtg_cli.writers.formats import assign_formats, write_output
from vtg_cli.writers.formats import formats as known_formats

ROOT = Path(__file__).resolve().parents[3]
NTSC_FILM, NTSC, NTSC_FAST = Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)
FRAME_RATES = [NTSC_FILM, Fraction(25), NTSC, Fraction(30), Fraction(60)]
LENGTH_S = 5
MOMENTS = (Moment(1.0, 2.0, 0.91), Moment(3.337, 4.75, 0.5), Moment(0.0, 0.5, 0.1), Moment(4.0, 5.0, 0.05))
FORMAT = {form.name: form for form in known_formats()}


def answer(
    video: Path | str, moments=MOMENTS, query="a cat", duration_s: float = LENGTH_S
) -> GroundingResult:
    curve = Saliency(1.0, (0.1, 0.9, 0.2, 0.5, 0.4))
    return GroundingResult(str(video), query, "zero-shot", ("lite",), duration_s, tuple(moments), curve)


def written(results, name: str, folder: Path) -> str:
    target = folder / f"answer.{name}"
    write_output(results, str(target), FORMAT[name])
    return target.read_bytes().decode("utf-8")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A function that gives a video of a frame rate, rendered once."""
    folder = tmp_path_factory.mktemp("videos")

    def rendered(fps: Fraction, *, sound: bool = True) -> Path:
        path = folder / f"a cat & {fps.numerator}-{fps.denominator}-{sound}.mp4"
        if not path.exists():
            frames = round(LENGTH_S * fps)
            start = 0.0 if sound else None
            render(path, frames=frames, fps=fps, width=64, height=48, audio_from_s=start)
        return path

    return rendered


def check_times(found: list[tuple[float, float]], frame_s: float, moments=MOMENTS) -> None:
    """Starts and ends in seconds, in the order of the answers, each within a frame."""
    assert len(found) == len(moments)
    for (start_s, end_s), moment in zip(found, moments, strict=True):
        assert abs(start_s - moment.start_s) < frame_s
        assert abs(end_s - moment.end_s) < frame_s


def clips_of(timeline, kind: str = "Video") -> list:
    track = next(track for track in timeline.tracks if track.kind == kind)
    return list(track.find_clips())


def range_of(clip) -> tuple[float, float]:
    cut = clip.source_range
    return cut.start_time.to_seconds(), cut.end_time_exclusive().to_seconds()


# Editing programs.


@pytest.mark.parametrize("fps", [*FRAME_RATES, NTSC_FAST], ids=str)
def test_edl(fps, video, tmp_path):
    text = written([answer(video(fps))], "edl", tmp_path)
    timeline = otio.adapters.read_from_string(text, "cmx_3600", rate=float(fps))
    clips = clips_of(timeline)
    check_times([range_of(clip) for clip in clips], 1 / float(fps))
    assert {clip.name for clip in clips} == {video(fps).name}
    assert ("FCM: DROP FRAME" in text) == (fps in (NTSC, NTSC_FAST))
    events = [line.split() for line in text.splitlines() if re.match(r"\d{3} ", line)]
    assert [event[0] for event in events] == ["001", "002", "003", "004"]
    assert all(event[2] == "B" for event in events)  # picture, and the one channel of sound
    separator = ";" if has_drop_frame(fps) else ":"
    assert events[0][6] == f"01:00:00{separator}00"
    assert [event[7] for event in events[:-1]] == [event[6] for event in events[1:]]  # no gaps


@pytest.mark.parametrize("fps", FRAME_RATES, ids=str)
def test_otio(fps, video, tmp_path):
    written([answer(video(fps))], "otio", tmp_path)
    timeline = otio.adapters.read_from_file(str(tmp_path / "answer.otio"))
    for kind in ("Video", "Audio"):
        clips = clips_of(timeline, kind)
        check_times([range_of(clip) for clip in clips], 1 / float(fps))
        for clip in clips:
            assert clip.source_range.start_time.rate == pytest.approx(float(fps))
            assert Path(unquote(urlparse(clip.media_reference.target_url).path)) == video(fps)
            available = clip.media_reference.available_range
            assert available.duration.to_seconds() == pytest.approx(LENGTH_S, abs=1 / float(fps))
            assert available.start_time <= clip.source_range.start_time
            assert clip.source_range.end_time_exclusive() <= available.end_time_exclusive()
    first = clips_of(timeline)[0]
    assert dict(first.metadata["vtg"]) == {"query": "a cat", "rank": 1, "score": 0.91, "model": "zero-shot"}
    assert first.markers[0].marked_range == first.source_range


def seconds(text: str) -> Fraction:
    assert text.endswith("s")
    return Fraction(text[:-1])


# What Apple's reference allows under each element, of what is written here.
CHILDREN = {
    "fcpxml": ["resources", "library"],
    "resources": ["format", "asset"],
    "asset": ["media-rep"],
    "library": ["event"],
    "event": ["asset-clip", "project"],
    "project": ["sequence"],
    "sequence": ["spine"],
    "spine": ["asset-clip"],
    "asset-clip": ["keyword", "marker"],
}


@pytest.mark.parametrize("fps", [*FRAME_RATES, NTSC_FAST], ids=str)
def test_fcpxml(fps, video, tmp_path):
    text = written([answer(video(fps))], "fcpxml", tmp_path)
    root = ET.fromstring(text)
    assert root.get("version") == "1.9"
    for element in root.iter():
        assert {child.tag for child in element} <= set(CHILDREN.get(element.tag, []))
    frame = seconds(root.find("resources/format").get("frameDuration"))
    assert frame == 1 / fps
    asset = root.find("resources/asset")
    assert asset.get("format") == root.find("resources/format").get("id")
    assert (asset.get("hasAudio"), asset.get("audioChannels"), asset.get("audioRate")) == ("1", "1", "16000")
    assert abs(seconds(asset.get("duration")) - LENGTH_S) < frame
    assert Path(unquote(urlparse(asset.find("media-rep").get("src")).path)) == video(fps)

    clips = root.findall(".//spine/asset-clip")
    keywords = root.findall("library/event/asset-clip/keyword")
    for elements in (clips, keywords):
        ranges = [
            (seconds(e.get("start")), seconds(e.get("start")) + seconds(e.get("duration"))) for e in elements
        ]
        check_times([(float(start), float(end)) for start, end in ranges], float(frame))
        assert all((time / frame).denominator == 1 for cut in ranges for time in cut)
    at = Fraction(0)
    for clip in clips:
        assert clip.get("ref") == asset.get("id")
        assert seconds(clip.get("offset")) == at
        at += seconds(clip.get("duration"))
    sequence = root.find(".//sequence")
    assert seconds(sequence.get("duration")) == at
    assert sequence.get("tcFormat") == ("DF" if has_drop_frame(fps) else "NDF")


@pytest.mark.parametrize("fps", [fps for fps in FRAME_RATES if fps.denominator == 1], ids=str)
def test_fcpxml_through_opentimelineio(fps, video, tmp_path):
    # Its adapter loses frames at the other rates, in its own arithmetic.
    text = written([answer(video(fps))], "fcpxml", tmp_path)
    found = otio.adapters.read_from_string(text, "fcpx_xml")
    clips = [clip for clip in found.find_children(descended_from_type=otio.schema.Clip) if clip.source_range]
    check_times([range_of(clip) for clip in clips][-len(MOMENTS) :], 1 / float(fps))


@pytest.mark.parametrize("name", ["edl", "otio", "fcpxml"])
def test_a_start_timecode_is_counted_from(name, tmp_path):
    path = tmp_path / "v.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=NTSC)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.metadata["timecode"] = "00:59:58;00"
        for _ in range(150):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    text = written([answer(path, [Moment(2.5, 3.5, 0.9)])], name, tmp_path)
    start = 3598 * 30 - 2 * 54  # drop-frame: two numbers in each minute but the tenth ones
    first, last = start + int(2.5 * NTSC), start + int(3.5 * NTSC)
    if name == "edl":
        assert f"{smpte(first, NTSC, drop_frame=True)} {smpte(last, NTSC, drop_frame=True)}" in text
        assert "01:00:00;14 01:00:01;14 01:00:00;00 01:00:01;00" in text
        assert " V  " in text
    elif name == "otio":
        clip = clips_of(otio.adapters.read_from_string(text, "otio_json"))[0]
        assert clip.source_range.start_time.to_frames() == first
        assert clip.available_range().start_time.to_frames() == start
        assert len(otio.adapters.read_from_string(text, "otio_json").tracks) == 1
    else:
        root = ET.fromstring(text)
        assert seconds(root.find("resources/asset").get("start")) * NTSC == start
        assert seconds(root.find(".//spine/asset-clip").get("start")) * NTSC == first
        assert root.find("resources/asset").get("hasAudio") is None


USUAL = [number / 30 for number in range(60)]
SLOW = [2 + number / 8 for number in range(16)]
VFR_S = USUAL + SLOW + [4 + k / 30 for k in range(30)]


@pytest.mark.parametrize("name", ["edl", "otio", "fcpxml"])
def test_variable_frame_rate(name, tmp_path):
    path = render(tmp_path / "v.mp4", times_s=VFR_S, width=64, height=48)
    text = written([answer(path)], name, tmp_path)
    if name == "fcpxml":
        root = ET.fromstring(text)
        assert root.find("resources/format").get("frameDuration") == "1/30s"
        for elements in (root.findall(".//spine/asset-clip"), root.findall(".//event/asset-clip/keyword")):
            times = [(seconds(e.get("start")), seconds(e.get("duration"))) for e in elements]
            check_times([(float(start), float(start + length)) for start, length in times], 1 / 30)
        return
    options = {"rate": 30} if name == "edl" else {}
    timeline = otio.adapters.read_from_string(text, "cmx_3600" if name == "edl" else "otio_json", **options)
    check_times([range_of(clip) for clip in clips_of(timeline)], 1 / 30)


def test_millisecond_jitter_is_constant_rate(tmp_path):
    path = render(tmp_path / "v.mkv", frames=90, fps=NTSC, width=64, height=48)
    text = written([answer(path, duration_s=3.0)], "fcpxml", tmp_path)
    assert 'frameDuration="1001/30000s"' in text


def test_several_videos_keep_their_rates(video, tmp_path):
    results = [answer(video(NTSC)), answer(video(Fraction(25)), query="a dog")]
    clips = clips_of(otio.adapters.read_from_string(written(results, "otio", tmp_path), "otio_json"))
    check_times([range_of(clip) for clip in clips[:4]], 1 / 29)
    check_times([range_of(clip) for clip in clips[4:]], 1 / 25)
    root = ET.fromstring(written(results, "fcpxml", tmp_path))
    assert len(root.findall("resources/asset")) == 2
    assert len(root.findall("library/event/project")) == 1
    with pytest.raises(VtgError, match="one frame rate"):
        written(results, "edl", tmp_path)


def test_an_edl_refuses_what_it_cannot_count(tmp_path):
    path = render(tmp_path / "v.mp4", frames=120, fps=120, width=64, height=48)
    with pytest.raises(VtgError, match="at most 60 frames per second"):
        written([answer(path, [Moment(0.2, 0.6, 0.9)])], "edl", tmp_path)
    timeline = otio.adapters.read_from_string(
        written([answer(path, [Moment(0.2, 0.6, 0.9)])], "otio", tmp_path), "otio_json"
    )
    check_times([range_of(clips_of(timeline)[0])], 1 / 120, [Moment(0.2, 0.6, 0.9)])


@pytest.mark.parametrize("name", ["edl", "otio", "fcpxml"])
def test_no_moments_make_an_empty_timeline(name, video, tmp_path):
    text = written([answer(video(Fraction(25)), [])], name, tmp_path)
    if name == "fcpxml":
        assert len(ET.fromstring(text).find(".//spine")) == 0
    else:
        options = {"rate": 25} if name == "edl" else {}
        timeline = otio.adapters.read_from_string(
            text, "cmx_3600" if name == "edl" else "otio_json", **options
        )
        assert list(timeline.find_clips()) == []


HOSTILE = 'a <b> & "c" --> d\n\x1b[31m {\\i1} 猫 \udcff'


@pytest.mark.parametrize("name", sorted(FORMAT))
def test_any_query_can_be_written(name, video, tmp_path):
    text = written([answer(video(Fraction(25)), query=HOSTILE)], name, tmp_path)
    assert "\x1b" not in text
    if name == "json":
        assert json.loads(text)["results"][0]["query"] == HOSTILE
    elif name == "jsonl":
        assert json.loads(text)["query"] == HOSTILE
    elif name == "fcpxml":
        assert '<b> & "c" --> d' in ET.fromstring(text).find(".//keyword").get("value")
    elif name == "otio":
        assert "猫" in clips_of(otio.adapters.read_from_string(text, "otio_json"))[0].name
    elif name == "edl":
        assert len(clips_of(otio.adapters.read_from_string(text, "cmx_3600", rate=25))) == len(MOMENTS)
    elif name == "vtt":
        assert '<b> & "c" --> d' in unescaped(webvtt.from_string(text)[0].text)
        assert len(webvtt.from_string(text)) == len(MOMENTS)


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_cells_of_tables_are_text_on_one_line(query):
    file = io.StringIO(newline="")
    csv_table.write([answer(query, query=query)], file)
    rows = list(csv.reader(io.StringIO(file.getvalue(), newline="")))
    assert len(rows) == len(file.getvalue().splitlines()) == 1 + len(MOMENTS)
    assert file.getvalue().replace("\n", "").isprintable() or not query.isprintable()
    for row in rows[1:]:
        assert row[0] == row[1]
        assert not row[1].strip().startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-v.mp4", "'-v.mp4"),
        ("@SUM(1)", "'@SUM(1)"),
        (" =1", "' =1"),
        ("＝1", "'＝1"),
        ("\t=1", "\\t=1"),
        ("a\x1b[31m\0\r\nb", "a\\x1b[31m\\x00\\r\\nb"),
        ("a\u2028b", "a\\u2028b"),
        ("a - b", "a - b"),
        ("a  b\u3000👩\u200d🚀", "a  b\u3000👩\u200d🚀"),
    ],
)
def test_cells_that_are_not_what_they_seem(text, cell):
    assert csv_table.safe_cell(text) == cell


def unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


# Players, spreadsheets, programs.


def spans_of(text: str, name: str) -> list[tuple[float, float]]:
    """Starts and ends in seconds, by a reader that knows nothing of what wrote them."""
    if name == "csv":
        return [(float(row["start_s"]), float(row["end_s"])) for row in csv.DictReader(io.StringIO(text))]
    if name == "text":
        clocks = re.findall(r"^(\S+) - (\S+) ", text, re.MULTILINE)
        midnight = datetime(1900, 1, 1)
        read = [[datetime.strptime(clock, "%H:%M:%S.%f") - midnight for clock in pair] for pair in clocks]
        return [(start.total_seconds(), end.total_seconds()) for start, end in read]
    if name in ("srt", "vtt"):
        return [(s.start / 1000, s.end / 1000) for s in pysubs2.SSAFile.from_string(text, format_=name)]
    result = json.loads(text)["results"][0] if name == "json" else json.loads(text)
    return [(moment["start_s"], moment["end_s"]) for moment in result["moments"]]


@pytest.mark.parametrize("fps", [*FRAME_RATES, NTSC_FAST, None], ids=str)
@pytest.mark.parametrize("name", ["json", "jsonl", "csv", "srt", "vtt", "text"])
def test_seconds_match_frames(name, fps, tmp_path):
    # Moments from frame to frame: what is read back is the same frame, and not the one before.
    times_s = VFR_S if fps is None else [float(frame / fps) for frame in range(int(LENGTH_S * fps))]
    edges = [(7, 40), (41, 42), (0, 90), (100, 101)]
    moments = [Moment(times_s[first], times_s[last], 0.5) for first, last in edges]
    found = spans_of(written([answer("v.mp4", moments)], name, tmp_path), name)
    if name in ("srt", "vtt"):
        moments.sort(key=lambda moment: moment.start_s)
    check_times(found, 0.001, moments)
    for cut, moment in zip(found, moments, strict=True):
        for time_s, meant_s in zip(cut, (moment.start_s, moment.end_s), strict=True):
            assert max(at_s for at_s in times_s if at_s <= time_s + 0.00051) == meant_s


def test_srt(tmp_path):
    subtitles = pysubs2.SSAFile.from_string(written([answer("v.mp4")], "srt", tmp_path), format_="srt")
    in_order = sorted(MOMENTS, key=lambda moment: moment.start_s)
    check_times([(s.start / 1000, s.end / 1000) for s in subtitles], 0.001, in_order)
    assert [subtitle.text for subtitle in subtitles] == [f"a cat ({m.score:.2f})" for m in in_order]


def test_webvtt(tmp_path):
    captions = webvtt.from_string(written([answer("v.mp4")], "vtt", tmp_path))
    in_order = sorted(MOMENTS, key=lambda moment: moment.start_s)
    check_times(
        [(c.start_in_seconds, c.end_in_seconds) for c in captions], 1.0, in_order
    )  # it reads whole seconds
    assert [c.start for c in captions] == [subtitle_time(m.start_s) for m in in_order]
    subtitles = pysubs2.SSAFile.from_string(written([answer("v.mp4")], "vtt", tmp_path), format_="vtt")
    check_times([(s.start / 1000, s.end / 1000) for s in subtitles], 0.001, in_order)


@given(st.lists(st.tuples(st.floats(0, 90000), st.floats(0, 5000)), max_size=6))
def test_subtitles_round_trip(spans):
    from vtg_cli.writers import subrip, webvtt

    moments = [Moment(start_s, start_s + length_s, 0.5) for start_s, length_s in spans]
    expected = sorted((m.start_s, m.end_s) for m in moments)
    for writer, form in ((subrip, "srt"), (webvtt, "vtt")):
        file = io.StringIO()
        writer.write([answer("v.mp4", moments, duration_s=1e5)], file)
        if moments:
            found = pysubs2.SSAFile.from_string(file.getvalue(), format_=form)
            assert [s.start / 1000 for s in found] == pytest.approx([s for s, _ in expected], abs=0.0006)
            assert [s.end / 1000 for s in found] == pytest.approx([e for _, e in expected], abs=0.0017)
            assert all(s.end > s.start for s in found)


def test_csv(tmp_path):
    results = [answer("v.mp4"), answer("v, 2.mp4", query='a "dog",\nrunning')]
    rows = list(csv.DictReader(io.StringIO(written(results, "csv", tmp_path), newline="")))
    assert [row["video"] for row in rows] == ["v.mp4"] * 4 + ["v, 2.mp4"] * 4
    assert rows[4]["query"] == 'a "dog",\\nrunning'  # one line for each moment
    assert [row["rank"] for row in rows[:4]] == ["1", "2", "3", "4"]
    check_times([(float(row["start_s"]), float(row["end_s"])) for row in rows[:4]], 0.001)
    assert [float(row["score"]) for row in rows[:4]] == [moment.score for moment in MOMENTS]


def schema() -> dict:
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs/json.md").read_text(encoding="utf-8"), re.DOTALL)
    return json.loads(blocks[-1])


def test_json_follows_the_schema_of_the_docs(tmp_path):
    document = json.loads(written([answer("v.mp4"), answer("v.mp4", [])], "json", tmp_path))
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(document, schema())
    assert document["results"][0]["moments"][1] == {
        "start_s": 3.337,
        "end_s": 4.75,
        "score": 0.5,
        "clear_match": None,
    }
    document["results"][0]["moments"][0]["score"] = 2
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema())


def test_example_of_the_docs():
    text = (ROOT / "docs/json.md").read_text(encoding="utf-8")
    jsonschema.validate(json.loads(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0]), schema())


def test_json_lines(tmp_path):
    lines = written([answer("v.mp4"), answer("v.mp4", query="a dog")], "jsonl", tmp_path).splitlines()
    assert [json.loads(line)["query"] for line in lines] == ["a cat", "a dog"]
    for line in lines:
        rows = {"schema": "vtg.grounding/1", "results": [json.loads(line)]}
        jsonschema.validate(rows, schema())


def test_plain_text(tmp_path):
    text = written([answer("v.mp4"), answer("v.mp4", [], query="a dog")], "text", tmp_path)
    assert text.splitlines()[:2] == ["a cat", "00:00:01.000 - 00:00:02.000  0.91"]
    assert text.splitlines()[-1] == "a dog"


def test_chapters(tmp_path, capsys):
    moments = [Moment(62.4, 70, 0.9), Moment(65, 80, 0.8), Moment(3700, 3710, 0.7), Moment(3, 9, 0.6)]
    text = written([answer("v.mp4", moments, duration_s=4000)], "chapters", tmp_path)
    assert text.splitlines() == ["0:00:00 Intro", "0:01:02 a cat", "1:01:40 a cat"]
    assert capsys.readouterr().err == ""
    text = written([answer("v.mp4", [Moment(0, 4, 0.9)], duration_s=30)], "chapters", tmp_path)
    assert text == "0:00 a cat\n"
    assert "3 or more" in capsys.readouterr().err


@given(st.lists(st.tuples(st.floats(0, 7000), st.floats(0, 1)), max_size=30), st.floats(1, 7200))
def test_chapters_are_as_youtube_wants_them(drawn, duration_s):
    from vtg_cli.writers import chapters

    moments = [Moment(min(start_s, duration_s), duration_s, score) for start_s, score in drawn]
    file = io.StringIO()
    chapters.write([answer("v.mp4", moments, duration_s=duration_s)], file)
    starts = []
    for line in file.getvalue().splitlines():
        clock = line.split()[0]
        starts.append(sum(int(part) * 60**power for power, part in enumerate(reversed(clock.split(":")))))
    assert starts[0] == 0
    assert all(later - earlier >= 10 for earlier, later in pairwise(starts))
    assert len(starts) == 1 or duration_s - starts[-1] >= 10
    assert set(starts) - {0} <= {int(moment.start_s) for moment in moments}


# Timecodes.


@given(st.integers(0, 24 * 3600 * 60), st.sampled_from([*FRAME_RATES, NTSC_FAST, Fraction(24), Fraction(50)]))
def test_timecodes_are_those_of_opentimelineio(frame, rate):
    time = otio.opentime.RationalTime(frame, float(rate))
    for drop_frame in {False, has_drop_frame(rate)}:
        frames_a_day = (
            round(float(rate) * 86400) if drop_frame else 86400 * -(-rate.numerator // rate.denominator)
        )
        if frame >= frames_a_day - 100:  # the other goes past a day
            continue
        text = smpte(frame, rate, drop_frame=drop_frame)
        assert text == otio.opentime.to_timecode(time, float(rate), drop_frame)
        assert smpte_frame(text, rate) == (frame, drop_frame)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("1:2:3", 25), ("00:00:00:25", 25), ("00:00:00;00", 25), ("00:61:00:00", 25), ("", 30)],
)
def test_what_is_no_timecode_is_refused(text, rate):
    with pytest.raises(ValueError, match=r"timecode|counts more"):
        smpte_frame(text, Fraction(rate))


# Which format, and where to.


def names(outputs: list[str], formats: list[str]) -> list[str]:
    return [form.name for form in assign_formats(outputs, formats)]


def test_the_ending_says_the_format():
    files = [f"a.x{form.suffix.upper()}" for form in known_formats() if form.suffix]
    assert names(files, []) == [form.name for form in known_formats() if form.suffix]
    assert names(["a.edl", "-", "b.csv", "c"], ["srt", "chapters"]) == ["edl", "srt", "csv", "chapters"]
    assert names(["a.edl", "b.json"], ["otio", "jsonl"]) == ["otio", "jsonl"]
    assert names(["a.txt"], ["chapters"]) == ["chapters"]


@pytest.mark.parametrize(
    ("outputs", "formats", "word"),
    [
        (["a.mp4"], [], "selects no format"),
        (["-"], [], "selects no format"),
        (["a.csv"], ["word"], "unknown format"),
        (["a.csv", "b.srt"], ["vtt"], "one --format for each"),
        (["a", "b", "c.csv"], ["vtt"], "one --format for each"),
    ],
)
def test_outputs_without_a_format_are_refused(outputs, formats, word):
    with pytest.raises(UsageError, match=word):
        assign_formats(outputs, formats)


def test_failed_write_keeps_the_old_file(tmp_path):
    target = tmp_path / "answer.edl"
    target.write_text("old")
    with pytest.raises(VtgError, match=r"nothing\.mp4"):
        write_output([answer(tmp_path / "nothing.mp4")], str(target), FORMAT["edl"])
    assert target.read_text() == "old"
    (tmp_path / "file").write_text("")
    with pytest.raises(VtgError, match="cannot be written"):
        write_output([answer("v.mp4")], str(tmp_path / "file" / "a.csv"), FORMAT["csv"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answer.edl", "file"]


# The command.


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("-o", "a.mp3"), "selects no format"),
        (("--format", "csv"), "-o -"),
        (("-o", "-", "--format", "csv", "--json"), "standard output"),
        (("-o", "video.csv"), "the video itself"),
        (("--supercut", "a.gif"), "must end in"),
        (("--copy",), "--clips"),
        (("--padding", "1"), "--supercut"),
    ],
)
def test_invalid_requests_are_usage_errors(arguments, word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "video.csv").touch()
    done = vtg("ground", "video.csv", "a cat", *arguments, home=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert word in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_one_command_writes_it_all(tmp_path):
    source = tmp_path / "example.mp4"
    source.write_bytes((EXAMPLES / "example.mp4").read_bytes())
    files = [tmp_path / f"answer{form.suffix}" for form in known_formats() if form.suffix]
    command = ["ground", source, "a cat", "a cup of coffee", "--top-k", "1", "--quiet"]
    done = vtg(*command, *(part for file in files for part in ("-o", file)), home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "“a cat”" in done.stdout  # people still get their tables
    assert all(file.stat().st_size > 50 for file in files)
    table = list(csv.DictReader(io.StringIO((tmp_path / "answer.csv").read_text())))
    assert [(row["query"], float(row["start_s"])) for row in table] == [
        ("a cat", 6.0),
        ("a cup of coffee", 21.0),
    ]

    clips, supercut = tmp_path / "clips", tmp_path / "all.mp4"
    done = vtg(
        *command, "-o", "-", "--format", "csv", "--clips", clips, "--supercut", supercut, "--padding", "0.5",
        home=tmp_path,
    )  # fmt: skip
    assert list(csv.DictReader(io.StringIO(done.stdout))) == table
    assert sorted(path.name for path in clips.iterdir()) == [
        "example_a-cat_01.mp4",
        "example_a-cup-of-coffee_01.mp4",
    ]
    lengths = [float(row["end_s"]) - float(row["start_s"]) + 1 for row in table]
    for path, length_s in zip([*sorted(clips.iterdir()), supercut], [*lengths, sum(lengths)], strict=True):
        with av.open(str(path)) as container:
            assert container.duration / 1_000_000 == pytest.approx(length_s, abs=2 / 25)

    done = vtg(*command, "--clips", clips, "--copy", home=tmp_path)
    assert done.returncode == 0, done.stderr
    done = vtg(*command, "--threshold", "1", "--supercut", tmp_path / "none.mp4", home=tmp_path)
    assert done.returncode == 1
    assert "--threshold" in done.stderr
    assert not (tmp_path / "none.mp4").exists()
