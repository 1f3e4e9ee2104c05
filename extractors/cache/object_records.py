"""Records of the content of objects: which content an object holds, while the storage tells the same of it.

An object that has an etag need not be downloaded again to know its content.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from extractors.files.identity import KnownContent
from extractors.places import Address
from extractors.storage.listing import ObjectState


def record_name(address: Address) -> str:
    """The file name of the record of an object."""
    return f"{hashlib.blake2b(address.text.encode(), digest_size=16).hexdigest()}.json"


def record_of(state: ObjectState, content: KnownContent) -> bytes | None:
    """A record as it is stored; None if the state does not name the content, so that there can be none."""
    if not state.names_content:
        return None
    return json.dumps({**content.to_json(), "state": asdict(state)}).encode()


def content_in(data: bytes, state: ObjectState) -> KnownContent | None:
    """The content that a record names for an object in a state; None if it is of another state or no record."""
    try:
        record = json.loads(data)
        same = record["state"] == asdict(state) and state.names_content
        return KnownContent.from_json(record) if same else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
