"""Where a video or a folder is: on this machine, or in object storage."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
"""How the address of an object begins, before `://`."""

_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)})://([^/]*)/?(.*)", re.DOTALL | re.IGNORECASE)
# A secret key may hold slashes; a bucket's name holds no colon, unless it is a resource name of Amazon.
_SECRET_LOGIN = re.compile(r"(?<=://)(?:(?!arn:)[^/]*:.*|[^/?#]*)@", re.DOTALL)
_SECRET_QUERY = re.compile(r"\?[^?]*=.*", re.DOTALL)


@dataclass(frozen=True, order=True, repr=False)
class Address:
    """An object in object storage, or a folder there; a value without a connection.

    Attributes:
        scheme: one of `SCHEMES`, in lower case.
        bucket: the bucket or container.
        key: name of the object in it, without a slash in front; one of a folder may end with a slash.
    """

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        """The address, without what may be a credential."""
        return without_secrets(self.text)

    __repr__ = __str__

    @property
    def text(self) -> str:
        """The address as it was given; never show it."""
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def has_secrets(self) -> bool:
        """Whether it holds what may be a credential: a login before the bucket, or a query string."""
        return str(self) != self.text

    @property
    def name(self) -> str:
        """The last part of the key."""
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.key).stem

    @property
    def suffix(self) -> str:
        """The end of the name, with its dot."""
        return PurePosixPath(self.key).suffix

    def __truediv__(self, name: str) -> Address:
        """What is in this folder under a name."""
        folder = self.key.rstrip("/")
        return Address(self.scheme, self.bucket, f"{folder}/{name}" if folder else name)


Place = Path | Address
"""A file or folder on this machine, or in object storage."""


def place_of(place: str | Place) -> Place:
    """The place that a text names: an address if it begins with one of `SCHEMES`, else a path."""
    if not isinstance(place, str):
        return place
    if match := _ADDRESS.fullmatch(place):
        scheme, bucket, key = match.groups()
        return Address(scheme.lower(), bucket, key)
    if place[:8].lower() == "file:///":
        from urllib.parse import urlsplit
        from urllib.request import url2pathname

        return Path(url2pathname(urlsplit(place).path))
    return Path(place)


def local_path(place: Place) -> Path:
    """The path of a place on this machine.

    Raises:
        TypeError: if it is in object storage.
    """
    if isinstance(place, Address):
        raise TypeError(f"{place}: is not on this machine")
    return place


def without_secrets(text: str) -> str:
    """A text that may hold an address, without the login and the query string of that address."""
    # The container of an Azure address may stand before its account, as in abfss://container@account/.
    if not re.match(r"abfss?://[^:@/]+@[^@/]+/", text, re.IGNORECASE):
        text = _SECRET_LOGIN.sub("***@", text)
    return _SECRET_QUERY.sub("?***", text)
