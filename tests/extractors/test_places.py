"""Paths and addresses, and what is shown of them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import pytest

from extractors.errors import VideoError
from extractors.extraction.device_worker import HandedVideo
from extractors.places import Address, local_path, place_of, without_secrets
from extractors.subprocesses import wire
from extractors.videos.events import VideoFinished, VideoOpening, WorkerLost


def test_addresses_and_paths() -> None:
    assert place_of("s3://bucket/a b/c.mp4") == Address("s3", "bucket", "a b/c.mp4")
    assert place_of("S3://bucket") == Address("s3", "bucket", "")
    assert place_of("s3://bucket//a") == Address("s3", "bucket", "/a")
    assert place_of("az://box/v?.mp4") == Address("az", "box", "v?.mp4")
    assert place_of("file:///tmp/a%20b.mp4") == Path("/tmp/a b.mp4")
    for text in ("video.mp4", "s3:/bucket/a", "https://example.com/a.mp4", "/s3://x"):
        assert place_of(text) == Path(text)


def test_parts_of_an_address() -> None:
    address = Address("s3", "bucket", "talks/day 1.mp4")
    assert (address.name, address.stem, address.suffix) == ("day 1.mp4", "day 1", ".mp4")
    assert str(Address("s3", "bucket", "out/") / "x.npz") == "s3://bucket/out/x.npz"
    assert str(Address("s3", "bucket", "") / "x.npz") == "s3://bucket/x.npz"


@pytest.mark.parametrize(
    "text",
    [
        "s3://KEYID:hunter2@bucket/a.mp4",
        "s3://KEYID:hun/ter2/hunter2@bucket/a.mp4",
        "s3://hunter2@bucket/a.mp4",
        "az://box/a.mp4?sv=2024&sig=hunter2",
        "gs://bucket/a.mp4?token=hunter2",
        "abfss://box:hunter2@account.dfs.core.windows.net/a.mp4",
    ],
)
def test_credentials_are_never_shown(text: str) -> None:
    address = place_of(text)
    assert isinstance(address, Address)
    assert address.has_secrets
    shown = f"{address} {address!r} {VideoError(address, 'is broken')} {[address]} {without_secrets(text)}"
    assert "hunter2" not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a@b.mp4",
        "s3://bucket/why?.mp4",
        "s3://arn:aws:s3:eu-1:1:accesspoint/a.mp4",
        "abfss://box@account.dfs.core.windows.net/a.mp4",
    ],
)
def test_plain_addresses_are_shown_whole(text: str) -> None:
    address = place_of(text)
    assert isinstance(address, Address)
    assert str(address) == text
    assert not address.has_secrets


def test_an_address_is_no_path() -> None:
    assert local_path(Path("a.mp4")) == Path("a.mp4")
    with pytest.raises(TypeError, match=r"s3://bucket/a\.mp4"):
        local_path(Address("s3", "bucket", "a.mp4"))


@pytest.mark.parametrize("place", [Path("a/b.mp4"), Address("s3", "bucket", "a b/why?.mp4")])
def test_places_reach_other_processes(place: Path | Address) -> None:
    sent = [
        VideoOpening(3, place),
        WorkerLost("cpu", "killed", (place, Path("x"), Address("gs", "b", "k"))),
        VideoFinished(0, place, "failed", VideoError(place, "is broken")),
        HandedVideo(1, place),
        HandedVideo(-1, None),
    ]
    pipe = io.BytesIO()
    for message in sent:
        wire.send(pipe, message)
    pipe.seek(0)
    kinds = (VideoOpening, WorkerLost, VideoFinished, HandedVideo)
    received = [wire.receive(pipe, kinds) for _ in sent]
    assert [str(message) for message in received] == [str(message) for message in sent]
    assert received[0] == sent[0]
    assert received[1] == sent[1]
    assert received[2].error.path == place
    assert received[3:] == sent[3:]
    assert pickle.loads(pickle.dumps(VideoError(place, "is broken"))).path == place
