"""Downloads from a server that fails, cuts, changes and loses what it holds."""

from __future__ import annotations

import hashlib
import random
import threading
from pathlib import Path

import pytest

from extractors.places import Address
from extractors.storage import fetching, filesystems, retrying
from extractors.storage.faults import ObjectMissing, StorageError
from extractors.storage.fetching import fetch
from extractors.storage.listing import state_of
from tests.buckets import SECRET, Bucket, every_tenth, troubled

DATA = random.Random(0).randbytes(100_001)


@pytest.fixture(autouse=True)
def _small_and_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(retrying, "BACKOFF_S", 0.001)


@pytest.fixture
def address(bucket: Bucket) -> Address:
    bucket.put("a.mp4", DATA)
    return Address("s3", bucket.name, "a.mp4")


def test_content(address: Address, tmp_path: Path) -> None:
    content = fetch(address, state_of(address), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == DATA
    assert content == hashlib.sha256(DATA).hexdigest()


def test_empty_object(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("empty.mp4", b"")
    address = Address("s3", bucket.name, "empty.mp4")
    assert fetch(address, state_of(address), tmp_path / "a") == hashlib.sha256().hexdigest()
    assert (tmp_path / "a").read_bytes() == b""


def test_every_tenth_request_fails(
    bucket: Bucket, address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with troubled(bucket.endpoint, every_tenth("fail", "drop", "cut", "slow down")) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        fetch(address, state_of(address), tmp_path / "a")
        count = len(proxy.requests)
    assert (tmp_path / "a").read_bytes() == DATA
    # A fault costs one block, and not the download so far.
    assert 111 <= count <= 120


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("fail", r"the storage answers with an error \(InternalError\); run the same command again later"),
        ("slow down", r"the storage answers with an error \(SlowDown\)"),
        ("drop", "the connection broke off|the storage cannot be reached"),
        ("cut", "the connection broke off again and again"),
        ("deny", r"access is denied.*; use credentials that allow reading it"),
    ],
)
def test_faults_that_stay(
    bucket: Bucket,
    address: Address,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
    reason: str,
) -> None:
    def from_the_fifth(method: str, path: str) -> str | None:
        return trouble if method == "GET" and len(proxy.requests) > 5 else None

    with troubled(bucket.endpoint, from_the_fifth) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        state = state_of(address)
        with pytest.raises(StorageError, match=rf"^{address}: ({reason})") as failed:
            fetch(address, state, tmp_path / "a")
    assert SECRET not in str(failed.value)
    assert "\n" not in str(failed.value)


def test_silence_ends_an_attempt(
    bucket: Bucket, address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "READ_TIMEOUT_S", 0.5)

    def once(method: str, path: str) -> str | None:
        return "hang" if len(proxy.requests) == 4 else None

    with troubled(bucket.endpoint, once) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        fetch(address, state_of(address), tmp_path / "a")
        assert proxy.hanging.is_set()
    assert (tmp_path / "a").read_bytes() == DATA


def test_nobody_answers(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(
        StorageError, match="the storage cannot be reached; check the network, and AWS_ENDPOINT_URL"
    ):
        state_of(address)


def test_settings_that_make_no_sense(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.config import conf

    monkeypatch.setenv("AWS_ENDPOINT_URL", "not an address")
    with pytest.raises(StorageError, match="the storage refused the request"):
        state_of(address)
    monkeypatch.setattr(filesystems, "_opened", {})
    monkeypatch.setitem(conf, "s3", {"key": "a", "username": "b"})
    with pytest.raises(StorageError, match=r"the storage refused the request \(KeyError: .*key or username"):
        state_of(address)


def test_no_credentials(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match="no credentials were found; set those of your provider"):
        state_of(address)


@pytest.mark.parametrize("new", [DATA[:500], DATA[::-1], DATA + b"x"])
def test_changed_meanwhile(
    bucket: Bucket, address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: bytes
) -> None:
    def change(method: str, path: str) -> None:
        if len(proxy.requests) == 5:
            bucket.put("a.mp4", new)

    with troubled(bucket.endpoint, change) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with pytest.raises(
            StorageError, match="changed while it was read; extract it again when it is complete"
        ):
            fetch(address, state_of(address), tmp_path / "a")


def test_lost_meanwhile(
    bucket: Bucket, address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(method: str, path: str) -> None:
        if len(proxy.requests) == 5:
            bucket.delete("a.mp4")

    with troubled(bucket.endpoint, lose) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with pytest.raises(ObjectMissing, match="there is no such object"):
            fetch(address, state_of(address), tmp_path / "a")


def test_stopped(address: Address, tmp_path: Path) -> None:
    state, stop = state_of(address), threading.Event()
    stop.set()
    with pytest.raises(StorageError, match="is no longer needed"):
        fetch(address, state, tmp_path / "a", stop)


def test_no_room_here(address: Address) -> None:
    with pytest.raises(
        StorageError, match=r"cannot be kept on this machine \(.*\); VTG_SCRATCH may name another"
    ):
        fetch(address, state_of(address), Path("/dev/full"))
