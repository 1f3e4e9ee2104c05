"""The page of a search's hits: complete, safe with any text, and true to the hits."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from extractors.errors import UsageError
from model.grounding.results import Quote
from model.search.results import Hit, SearchResult
from tests.cli.drawing.test_html_report import ATTACKS, SVG, Page
from tests.extractors.rendering import render
from vtg_cli.drawing.hits_page import write_hits_page


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    names = ("a #1 & 100%: 'cat'.mp4", "plain.mp4")
    return [render(folder / name, frames=80, fps=10, width=160, height=96) for name in names]


def result(videos, query: str = "a cat") -> SearchResult:
    first, second = videos
    hits = (
        Hit(second, 1.0, 3.0, 0.9, True, 1.0, 8.0),
        Hit(first, 2.5, 5.25, 0.5, False, 0.7, 8.0),
        Hit(second, 7.5, 8.0, 0.1, None, 1.0, 8.0),
    )
    return SearchResult(query, hits, True, 12, 5)


def page(results, folder: Path) -> Page:
    write_hits_page(results, folder / "hits.html")
    return Page(folder / "hits.html")


def test_hits_in_order(videos, tmp_path):
    shown = page([result(videos), result(videos, "a dog")], tmp_path)
    buttons = [attributes for attributes, _ in shown.all("button")]
    assert len(buttons) == 6
    assert [float(button["data-start"]) for button in buttons[:3]] == [1.0, 2.5, 7.5]
    assert [button["data-name"] for button in buttons[:2]] == [videos[1].name, videos[0].name]
    for button, hit in zip(buttons, result(videos).hits, strict=False):
        assert (tmp_path / unquote(button["data-source"])).resolve() == hit.video
    assert [button["class"] for button in buttons[:3]] == ["moment", "moment unclear", "moment"]
    assert [text for _, text in shown.all("h3")] == ["", ""]
    assert [text for _, text in shown.all("bdi")][:2] == ["a cat, a dog", "a cat"]
    assert shown.all("p")[0][1] == "6 moments in 2 videos, of 12 videos searched"


def test_nothing_comes_from_elsewhere(videos, tmp_path):
    shown = page([result(videos)], tmp_path)
    assert "://" not in shown.source.replace(SVG, "")
    pictures = [attributes["src"] for attributes, _ in shown.all("img") if "src" in attributes]
    assert len(pictures) == 3
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in pictures)
    (policy,) = [
        a["content"] for a, _ in shown.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for tag in ("script", "style"):
        text = shown.all(tag)[-1][1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert not [key for _, a, _ in shown.elements for key in a if key == "style" or key.startswith("on")]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_people_wrote_is_text(attack, videos, tmp_path):
    harmless = page([result(videos)], tmp_path)
    shown = page([result(videos, attack)], tmp_path)
    assert [tag for tag, _, _ in shown.elements] == [tag for tag, _, _ in harmless.elements]
    assert shown.all("script") == harmless.all("script")


@pytest.mark.parametrize("attack", ATTACKS)
def test_quotes_are_text(attack, videos, tmp_path):
    found = result(videos)

    def quoting(text: str) -> Page:
        hits = tuple(replace(hit, quote=Quote("subtitles", "a.srt", text)) for hit in found.hits)
        return page([replace(found, hits=hits, quoted="subtitles")], tmp_path)

    harmless = quoting("the budget")
    assert "“the budget”" in harmless.source
    shown = quoting(attack)
    assert [tag for tag, _, _ in shown.elements] == [tag for tag, _, _ in harmless.elements]
    assert shown.all("script") == harmless.all("script")


def test_names_of_files_are_text(videos, tmp_path):
    odd = tmp_path / '"><script>x.mp4'
    odd.write_bytes(videos[0].read_bytes())
    hit = replace(result(videos).hits[0], video=odd)
    shown = page([replace(result(videos), hits=(hit,))], tmp_path)
    assert len(shown.all("script")) == 1
    (button,) = [attributes for attributes, _ in shown.all("button")]
    assert (button["data-name"], unquote(button["data-source"])) == (odd.name, f"./{odd.name}")


def test_video_that_cannot_be_read_has_no_picture(videos, tmp_path):
    hit = replace(result(videos).hits[0], video=tmp_path / "gone.mp4")
    shown = page([replace(result(videos), hits=(hit,))], tmp_path)
    pictures = [attributes for attributes, _ in shown.all("img") if attributes.get("class") == "missing"]
    assert len(pictures) == 1


def test_nothing_found(videos, tmp_path):
    shown = page([replace(result(videos), hits=(), clear_match=False)], tmp_path)
    assert shown.all("button") == []
    assert "Nothing in 12 videos matches clearly." in [text for _, text in shown.all("p")]


def test_wrong_ending(videos, tmp_path):
    with pytest.raises(UsageError, match=r"must end in \.html"):
        write_hits_page([result(videos)], tmp_path / "hits.txt")
