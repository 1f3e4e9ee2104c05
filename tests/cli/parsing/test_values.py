"""Invalid values are refused before any work, with the allowed ones."""

from __future__ import annotations

import json
import os

import pytest

from tests.cli.running import EXAMPLES, vtg

VIDEO = EXAMPLES / "example.mp4"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home whose cache holds the example: a value must be refused even where it would not be needed."""
    home = tmp_path_factory.mktemp("home")
    assert vtg("ground", VIDEO, "a cat", "--json", home=home).returncode == 0
    return home


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ground", VIDEO, "a cat", "--precision", "int8"), "known are auto, fp32, bf16, fp16"),
        (("ground", VIDEO, "a cat", "--device", "tpu"), "known are auto, cpu, cuda, cuda:N, mps"),
        (("ground", VIDEO, "a cat", "--device", "cuda:"), "known are auto, cpu, cuda, cuda:N, mps"),
        (("ground", VIDEO, "a cat", "--threshold", "7"), "--threshold 7: must be a number from 0 to 1"),
        (("ground", VIDEO, "a cat", "--threshold", "nan"), "--threshold nan: must be a number from 0 to 1"),
        (("ground", VIDEO, "a cat", "--top-k", "0"), "--top-k 0: must be a whole number from 1 on"),
        (("ground", VIDEO, "a cat", "--top-k", "2.5"), "--top-k 2.5: must be a whole number from 1 on"),
        (("ground", VIDEO, "a cat", "--fps", "fast"), "--fps fast: must be a number"),
        (("ground", VIDEO, "a cat", "--padding", "inf", "--clips", "c"), "--padding inf: must be"),
        (
            ("ground", VIDEO, "a cat", "--weights", "clap=a.pt"),
            "glove, slowfast, vgg, open_clip:MODEL/PRETRAINED have",
        ),
        (("ground", VIDEO, "a cat", "--weights", "clip=nothing.pt"), "nothing.pt: does not exist"),
        (("ground", VIDEO, "a cat", "-o", "", "--format", "json"), "--output: is empty"),
        (("ground", VIDEO, "a cat", "--html", ""), "--html: is empty"),
        (("ground", VIDEO, "a cat", "--clips", ""), "--clips: is empty"),
        (("ground", VIDEO, "a cat", "--cache", ""), "--cache: is empty"),
        (("ground", "--watch", "nowhere", "a cat"), "--watch nowhere: does not exist"),
        (("extract", VIDEO, "--timeout", "inf"), "--timeout inf: must be a number from 1 to 86400"),
        (("extract", VIDEO, "--timeout", "1e300"), "--timeout 1e300: must be a number from 1 to 86400"),
        (("extract", VIDEO, "--precision", "int8"), "known are auto, fp32, bf16, fp16"),
        (("extract", ""), "PATH: is empty"),
        (("extract", "https://example.com/a.mp4"), "https://example.com/a.mp4: vtg reads files"),
        (("serve", "https://example.com/a.mp4"), "https://example.com/a.mp4: vtg reads files"),
        (
            ("extract", "https://a:b@example.com/a.mp4?c=d"),
            "https://***@example.com/a.mp4?***: vtg reads files",
        ),
        (
            ("extract", "s3://KEY:hunter2@bucket/videos/"),
            "s3://***@bucket/videos/: has a login or a query string",
        ),
        (
            ("extract", VIDEO, "-o", "az://box/out?sig=hunter2"),
            "az://box/out?***: has a login or a query string",
        ),
        (("extract", "az://bucket/videos/"), "(adlfs); pip install 'vtg[cloud]' adlfs"),
        (
            ("extract", VIDEO, "--cache", "s3://bucket/cache"),
            "s3://bucket/cache: is in object storage; name a",
        ),
        (("extract", VIDEO, "--scratch", "-1"), "--scratch -1: must be a number from 0 to 1e+06"),
        (("index", "add", "s3://bucket/videos/"), "s3://bucket/videos/: is in object storage; name a"),
        (("serve", "s3://bucket/videos/"), "s3://bucket/videos/: is in object storage; name a"),
        (
            ("ground", "s3://bucket/a.mp4", "a cat", "--clips", "cuts"),
            "s3://bucket/a.mp4: --clips needs the video's",
        ),
        (
            ("ground", "s3://bucket/a.mp4", "a cat", "-o", "a.edl"),
            "s3://bucket/a.mp4: edl needs the video's file",
        ),
        (
            ("ground", "s3://bucket/videos/", "a cat"),
            "s3://bucket/videos/: is a folder; name the videos in it",
        ),
        (("serve", "--port", "99999"), "--port 99999: must be a whole number from 0 to 65535"),
        (("train", "--dataset", "qvhl", "--videos", "nowhere"), "--videos nowhere: does not exist"),
        (("bench", "--seconds", "x"), "--seconds x: must be a number from 2 to 600"),
        (("cache", "clear", "nope", "--yes"), "known are clip, lite, slowfast, vgg"),
        (("cache", "clear", "--older-than", "x"), "--older-than x: must be a number"),
    ],
    ids=lambda value: " ".join(map(os.path.basename, map(str, value))) if isinstance(value, tuple) else "",
)
def test_a_wrong_value_is_refused(arguments, said, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = vtg(*arguments, home=home)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_entries_are_cleared_by_name_and_by_folder(home):
    assert vtg("cache", "clear", "clip", "--yes", home=home).stdout.startswith("removed 0 entries,")
    held = json.loads(vtg("cache", "info", "--json", home=home).stdout)["specs"]
    held_of = {usage["files"]: usage["folder"] for usage in held}
    assert set(held_of) == {1, 2}  # of the video, and of the query and everyday phrases
    assert vtg("cache", "clear", held_of[1], "--yes", home=home).stdout.startswith("removed 1 entry,")
    assert vtg("cache", "clear", "lite", "--yes", home=home).stdout.startswith("removed 2 entries,")
    assert vtg("cache", "info", home=home).stdout.endswith("features: 0 entries, 0 B\n")
