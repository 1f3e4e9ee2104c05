"""The page for a browser: complete, safe with any text, and true to the results."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from extractors.errors import UsageError, VideoError, VtgError
from extractors.videos.facts import VideoFacts
from model.grounding.results import GroundingResult, Moment, Saliency, to_document
from tests.cli.running import EXAMPLES, vtg
from tests.extractors.rendering import render
from vtg_cli.drawing.html_report import EMBED_LIMIT_MB, check_report, write_report

LENGTH_S = 8.0
MOMENTS = (Moment(1.0, 3.0, 0.9), Moment(2.5, 5.25, 0.5), Moment(7.5, 8.0, 0.1))
ATTACKS = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!--<script>",
    "]]> &lt;b&gt; {{data}} {{packed}} \\u003c \u2028 \x00 \x1b",
    "javascript:alert(1) http://example.com/",
)
SVG = "http://www.w3.org/2000/svg"  # a name, which nothing is fetched from
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """A page as a browser takes it apart: elements with their attributes and their own text."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[int] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {key: value or "" for key, value in attrs}, []))
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        assert self.elements[self.open.pop()][0] == tag

    def handle_data(self, data):
        if self.open:
            self.elements[self.open[-1]][2].append(data)

    def all(self, tag: str, **attributes: str) -> list[tuple[dict[str, str], str]]:
        return [
            (found, "".join(text))
            for name, found, text in self.elements
            if name == tag and attributes.items() <= found.items()
        ]

    def one(self, tag: str, **attributes: str) -> tuple[dict[str, str], str]:
        (found,) = self.all(tag, **attributes)
        return found


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    return render(folder / "a #1 & 100%: 'cat'.mp4", frames=80, fps=10, width=160, height=96)


def answer(
    video: Path, query: str = "a cat", moments=MOMENTS, scores=(0.1, 0.9, 0.4, 0.2)
) -> GroundingResult:
    return GroundingResult(
        str(video), query, "zero-shot", ("lite",), LENGTH_S, tuple(moments), Saliency(2.0, tuple(scores))
    )


def report(results, folder: Path, **options: bool) -> Page:
    target = folder / "report.html"
    write_report(results, target, **options)
    return Page(target)


def test_nothing_comes_from_elsewhere(video, tmp_path):
    page = report([answer(video), answer(video, "a dog")], tmp_path)
    assert "://" not in page.source.replace(SVG, "")
    assert "url(" not in page.source
    assert "@import" not in page.source
    assert page.all("link") == page.all("iframe") == page.all("base") == page.all("a") == []
    sources = [attributes["src"] for attributes, _ in page.all("img") if "src" in attributes]
    sources += [
        picture for of_query in json.loads(page.one("script", id="pictures")[1]) for picture in of_query
    ]
    assert len(sources) == 16
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    (policy,) = [
        a["content"] for a, _ in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules["media-src"] == "'self' file:"
    for tag in ("script", "style"):
        text = page.all(tag)[-1][1]
        assert (
            rules[f"{tag}-src"]
            == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        )
    # What the policy would stop must not be there in the first place.
    assert not [key for _, attributes, _ in page.elements for key in attributes if key.startswith("on")]
    assert not [key for _, attributes, _ in page.elements for key in attributes if key == "style"]


def test_damage_is_told(video, tmp_path):
    def told(result: GroundingResult) -> list[str]:
        return [text for _, text in report([result], tmp_path).all("p") if "damaged" in text]

    damaged = replace(answer(video), facts=VideoFacts(((1.2, 4.0),)))
    assert told(answer(video)) == []
    assert told(damaged) == ["This video is damaged somewhere in 1 to 4 s; what is found there is uncertain."]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_people_wrote_is_text(attack, video, tmp_path):
    harmless = report([answer(video)], tmp_path)
    page = report([answer(video, attack)], tmp_path)
    assert [tag for tag, _, _ in page.elements] == [tag for tag, _, _ in harmless.elements]
    assert json.loads(page.one("script", id="results")[1])["results"][0]["query"] == attack
    assert page.all("script")[-1] == harmless.all("script")[-1]


def test_names_of_files_are_text_and_addresses(tmp_path):
    folder = tmp_path / "films & <b>"
    folder.mkdir()
    video = render(folder / '"><script>x.mp4', frames=8, fps=10, width=160, height=96)
    page = report([answer(video)], tmp_path)
    assert len(page.all("script")) == 4
    assert page.all("b") == []
    assert page.one("h1")[1] + page.all("bdi")[0][1] == '"><script>x.mp4'
    assert unquote(page.one("video")[0]["src"]) == './films & <b>/"><script>x.mp4'


def test_path_of_the_video(video, tmp_path, monkeypatch):
    page = report([answer(video)], tmp_path / "deep" / "down")
    source = page.one("video")[0]["src"]
    assert re.fullmatch(r"[\w./%~-]+", source)
    assert (tmp_path / "deep" / "down" / unquote(source)).resolve() == video
    monkeypatch.chdir(video.parent)
    write_report([answer(Path(video.name))], Path("r.html"))
    assert unquote(Page(Path("r.html")).one("video")[0]["src"]) == f"./{video.name}"


def test_the_data_are_the_results(video, tmp_path):
    results = [answer(video), answer(video, "日本", MOMENTS[:1], (-3.0, 5.0)), answer(video, "none", ())]
    page = report(results, tmp_path)
    assert json.loads(page.one("script", id="results")[1]) == to_document(results)


def test_pictures_are_small_jpegs_with_alt_text(video, tmp_path):
    page = report([answer(video), answer(video, "none", ())], tmp_path)
    strip = [image for image in page.all("img") if "src" in image[0]]
    assert [a["alt"] for a, _ in strip] == [f"at 0:0{k * 0.8 + 0.4:.1f}" for k in range(10)]
    of_moments, of_none = json.loads(page.one("script", id="pictures")[1])
    assert (len(of_moments), of_none) == (3, [])
    for source in [a["src"] for a, _ in strip] + of_moments:
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as picture:
            assert (picture.format, picture.size) == ("JPEG", (150, 90))


def test_the_video_can_be_inside(video, tmp_path):
    page = report([answer(video, ATTACKS[0])], tmp_path, embed=True)
    assert "src" not in page.one("video")[0]
    assert page.one("video")[0]["data-type"] == "video/mp4"
    assert base64.b64decode(page.one("script", id="packed")[1], validate=True) == video.read_bytes()
    assert "media-src blob:;" in page.source
    assert "\0" not in page.source


def test_large_videos_are_not_embedded(tmp_path):
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.truncate(EMBED_LIMIT_MB * 1_000_000 + 1_000_000)
    with pytest.raises(
        UsageError, match=rf"has {EMBED_LIMIT_MB + 1} MB.* {EMBED_LIMIT_MB} MB .*leave --embed out"
    ):
        check_report(tmp_path / "r.html", large, embed=True)
    check_report(tmp_path / "r.html", large, embed=False)


def test_failed_report_keeps_the_old_file(video, tmp_path):
    target = tmp_path / "report.html"
    target.write_text("old")
    with pytest.raises(VideoError, match=r"nothing\.mp4"):
        write_report([answer(tmp_path / "nothing.mp4")], target)
    with pytest.raises(UsageError, match="the video itself"):
        write_report([answer(target)], target)
    with pytest.raises(VtgError, match="cannot be written"):
        write_report([answer(video)], target / "r.html")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.html", "old")]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, to read the script")
def test_the_script_is_one(video, tmp_path):
    script = tmp_path / "script.mjs"
    script.write_text(report([answer(video)], tmp_path).all("script")[-1][1], encoding="utf-8")
    assert not re.search(r"^(import|export) ", script.read_text(encoding="utf-8"), re.MULTILINE)
    done = subprocess.run(["node", "--check", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "word"), [(("--html", "a.pdf"), ".html or .htm"), (("--embed",), "needs --html")]
)
def test_invalid_requests_are_usage_errors(arguments, word, tmp_path):
    done = vtg("ground", EXAMPLES / "example.mp4", "a cat", *arguments, home=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert word in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_all_drawings_in_one_command(tmp_path):
    files = [tmp_path / name for name in ("a.png", "a.svg", "a.html")]
    done = vtg(
        "ground", EXAMPLES / "example.mp4", "a cat", "ein Löffel", "--top-k", "1", "--embed",
        "--plot", files[1], "--html", files[2], home=tmp_path, PYTHONIOENCODING="ascii", COLUMNS="60",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert '"a cat"' in done.stdout
    assert "\\xf6" in done.stdout
    assert "\x1b" not in done.stdout
    heading, *lines = done.stdout.splitlines()
    assert heading.startswith(str(EXAMPLES / "example.mp4"))  # whole, so that it can be copied
    assert max(map(len, lines)) <= 60
    assert f"note: {files[2]}: written" in done.stderr
    assert "moment-2-1" in files[1].read_text()
    packed = Page(files[2]).one("script", id="packed")[1]
    assert base64.b64decode(packed) == (EXAMPLES / "example.mp4").read_bytes()
