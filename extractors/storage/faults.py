"""What goes wrong with object storage, in one line that says what to do next."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from extractors.errors import VtgError
from extractors.places import Address, place_of, without_secrets

_LONGEST = 200  # characters of a message that is not ours

_MISSING_LOGIN = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "DefaultCredentialsError",
    "ClientAuthenticationError",
)
_UNREACHABLE = (
    "EndpointConnectionError",
    "ClientConnectionError",
    "ClientConnectorError",
    "ConnectionClosedError",
    "HTTPClientError",
    "ProxyConnectionError",
    "ServiceRequestError",
)
_SLOW = ("TimeoutError", "ReadTimeoutError", "ConnectTimeoutError", "FSTimeoutError", "ServerTimeoutError")
_BROKEN_OFF = (
    "IncompleteRead",
    "IncompleteReadError",
    "ResponseParserError",
    "ClientPayloadError",
    "ResponseStreamingError",
)
_BUSY = (errno.EBUSY, errno.EIO, getattr(errno, "EREMOTEIO", errno.EIO))


class StorageError(VtgError):
    """An object or a bucket cannot be used.

    Args:
        address: the object or the folder.
        reason: what is wrong, and what to do next, without the address.
    """

    def __init__(self, address: Address | str, reason: str) -> None:
        super().__init__(f"{address}: {reason}")
        self.address = place_of(address)
        self.reason = reason

    def __reduce__(self) -> tuple[type[StorageError], tuple[str, str]]:
        return type(self), (str(self.address), self.reason)


class ObjectMissing(StorageError):
    """There is no object of that name in the bucket."""


class ShortRead(Exception):
    """An answer ended before its end."""


@dataclass(frozen=True)
class Fault:
    """Why a request failed.

    Attributes:
        reason: what is wrong, and what to do next, in one line without credentials.
        is_transient: whether the same request may succeed a moment later.
        is_missing: whether there is no such object, in a bucket that is there.
    """

    reason: str
    is_transient: bool = False
    is_missing: bool = False


def fault_of(error: Exception, *, writing: bool = False) -> Fault:
    """Tell what a request's exception means.

    Args:
        error: what a file system of fsspec raised; the exceptions of each provider's package are known by name, as
            none of the packages need be installed.
        writing: whether an object was to be written.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    code, status = _answer(error)
    if names.intersection(_MISSING_LOGIN):
        return Fault(
            "no credentials were found; set those of your provider (for s3: AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)"
        )
    if code == "NoSuchBucket":
        return Fault("there is no such bucket; check its name, and AWS_ENDPOINT_URL if it is not at Amazon")
    if isinstance(error, FileNotFoundError):
        return Fault("there is no such object", is_missing=True)
    if isinstance(error, PermissionError):
        action = "writing" if writing else "reading"
        return Fault(f"access is denied{_named(code)}; use credentials that allow {action} it")
    if names.intersection(_SLOW):
        return Fault(
            "the storage did not answer in time; run the same command again later", is_transient=True
        )
    if isinstance(error, ShortRead) or names.intersection(_BROKEN_OFF):
        return Fault(
            "the connection broke off again and again; run the same command again later", is_transient=True
        )
    if isinstance(error, ConnectionError) or names.intersection(_UNREACHABLE):
        return Fault(
            "the storage cannot be reached; check the network, and AWS_ENDPOINT_URL if it is not at Amazon",
            is_transient=True,
        )
    # 409: another request writes the object just now.
    if (
        status in (408, 409, 425, 429)
        or status >= 500
        or (isinstance(error, OSError) and error.errno in _BUSY)
    ):
        return Fault(
            f"the storage answers with an error{_named(code)}; run the same command again later",
            is_transient=True,
        )
    detail = " ".join(without_secrets(word) for word in str(error).split())[:_LONGEST]
    return Fault(f"the storage refused the request ({type(error).__name__}: {detail})")


def _answer(error: BaseException) -> tuple[str, int]:
    """The code and the HTTP status of a provider's answer; an empty one and 0 if there is none."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict):  # of botocore
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return str(response.get("Error", {}).get("Code", "")), int(status)
        for name in ("code", "status_code", "status"):  # of gcsfs, azure-core and aiohttp
            status = getattr(one, name, None)
            if isinstance(status, int) and not isinstance(status, bool):
                return "", status
    return "", 0


def _named(code: str) -> str:
    return f" ({code})" if code else ""
