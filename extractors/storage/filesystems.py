"""The file systems of fsspec, which know each kind of object storage and find the user's credentials for it."""

from __future__ import annotations

import threading
from typing import Any

from extractors.errors import UsageError
from extractors.places import Address
from extractors.storage.faults import StorageError, fault_of

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
"""Seconds without a single byte after which a request is tried again."""

_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
}
_BUNDLED = "s3fs"  # with the extra
_opened: dict[tuple[str, str], Any] = {}
_lock = threading.Lock()


def require_usable(address: Address) -> None:
    """Make sure that an address can be used, without opening a connection.

    Raises:
        UsageError: if it holds credentials or names no bucket, or a package for it is not installed.
        StorageError: as of `filesystem_of`.
    """
    if address.has_secrets:
        raise UsageError(
            f"{address}: has a login or a query string, and addresses are printed; give the plain address, and the "
            "credentials in the environment or in the files of your provider's tools"
        )
    if not address.bucket:
        raise UsageError(f"{address}: names no bucket; write {address.scheme}://BUCKET/NAME")
    filesystem_of(address)


def filesystem_of(address: Address) -> Any:
    """The file system of an address, made once for each bucket.

    Raises:
        UsageError: if a package for it is not installed.
        StorageError: if it cannot be set up, for lack of credentials for instance.
    """
    place = address.scheme, address.bucket
    with _lock:
        if place not in _opened:
            _opened[place] = _open(address)
        return _opened[place]


def path_of(address: Address) -> str:
    """How the file system of an address calls it."""
    from fsspec.core import strip_protocol

    return str(strip_protocol(address.text))


def _open(address: Address) -> Any:
    package = _PACKAGES.get(address.scheme)
    try:
        import fsspec

        if package is not None:
            __import__(package)
    except ImportError as error:
        extra = "pip install 'vtg[cloud]'"
        command = extra if package in (_BUNDLED, None) else f"{extra} {package}"
        raise UsageError(
            f"{address}: {address.scheme}:// needs a package that is not installed ({error.name or error}); {command}"
        ) from error
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if package == "s3fs":
        options["max_concurrency"] = 1
        # Requests are repeated in one place, `retrying.py`, which can be stopped and looks at the progress.
        options["config_kwargs"] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "retries": {"total_max_attempts": 1},
        }
    try:
        filesystem, _ = fsspec.core.url_to_fs(address.text, **options)
    except Exception as error:  # some look for credentials at once
        raise StorageError(address, fault_of(error).reason) from error
    if package == "s3fs":
        filesystem.retries = 1
    return filesystem
