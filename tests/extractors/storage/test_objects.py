"""Objects that are whole under their name, or not there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from extractors.places import Address
from extractors.storage import retrying
from extractors.storage.faults import StorageError
from extractors.storage.objects import create, publish, read_object, remove
from tests.buckets import Bucket, every_tenth, troubled

DATA = bytes(range(256)) * 4000


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "BACKOFF_S", 0.001)


def test_written_and_read(bucket: Bucket) -> None:
    address = Address("s3", bucket.name, "out/a b.npz")
    assert read_object(address) is None
    publish(address, b"old")
    publish(address, DATA)
    assert read_object(address) == DATA == bucket.get("out/a%20b.npz")


def test_memory() -> None:
    address = Address("memory", "objects", "a.npz")
    assert read_object(address) is None
    publish(address, DATA)
    assert read_object(address) == DATA


@pytest.mark.parametrize("scheme", ["s3", "memory"])
def test_only_the_first_creates(bucket: Bucket, scheme: str) -> None:
    address = Address(scheme, bucket.name, "created")
    assert create(address, b"first")
    assert not create(address, b"second")
    assert read_object(address) == b"first"
    remove(address)
    remove(address)
    assert read_object(address) is None
    assert create(address, b"third")


def test_created_though_the_answer_was_lost(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with troubled(bucket.endpoint, every_tenth("lose")) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert all(create(Address("s3", bucket.name, f"{number}"), DATA) for number in range(12))
        assert not create(Address("s3", bucket.name, "0"), b"another")


def test_no_bucket(bucket: Bucket) -> None:
    address = Address("s3", "no-such-bucket", "a.npz")
    with pytest.raises(StorageError, match="there is no such bucket"):
        read_object(address)
    with pytest.raises(StorageError, match="there is no such bucket"):
        publish(address, DATA)


def test_every_tenth_request_fails(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with troubled(bucket.endpoint, every_tenth("fail", "drop", "cut")) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        for number in range(30):
            address = Address("s3", bucket.name, f"{number}.npz")
            publish(address, DATA[number:])
            assert read_object(address) == DATA[number:]
    assert all(bucket.get(f"{number}.npz") == DATA[number:] for number in range(30))


def test_writing_is_denied(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with troubled(bucket.endpoint, lambda method, path: "deny" if method == "PUT" else None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with pytest.raises(StorageError, match=r"access is denied \(AccessDenied\); use credentials that"):
            publish(Address("s3", bucket.name, "a.npz"), DATA)
        assert [method for method, _ in proxy.requests] == ["PUT"]
    assert bucket.all_keys() == []


@pytest.mark.parametrize("there", [None, b"old"])
def test_killed_during_an_upload(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, there: bytes | None
) -> None:
    if there is not None:
        bucket.put("a.npz", there)
    code = (
        "from extractors.places import Address; from extractors.storage.objects import publish; "
        f"publish(Address('s3', {bucket.name!r}, 'a.npz'), bytes(1_000_000))"
    )
    with troubled(bucket.endpoint, lambda method, path: "hang" if method == "PUT" else None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        writer = subprocess.Popen([sys.executable, "-c", code])
        assert proxy.hanging.wait(60)
        writer.kill()
        writer.wait()
    assert bucket.all_keys() == ([] if there is None else ["a.npz"])
    assert there is None or bucket.get("a.npz") == there
