"""Typer parsers for values on the command line: each takes the typed text and returns the value.

An invalid value raises UsageError before any work begins, even if the value would not be used.
"""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from extractors.compute.device import check_device, check_precision
from extractors.errors import UsageError
from extractors.places import Address, place_of, without_secrets

LONGEST_S = 86_400.0
"""A day: the longest time in seconds that an option takes."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/{1,3}\S", re.IGNORECASE)


def whole_number(option: str, *, least: int, most: int | None = None) -> Callable[[Any], int]:
    """Reads a whole number in a range; one without an upper end if `most` is None."""
    meant = (
        f"a whole number from {least} to {most}" if most is not None else f"a whole number from {least} on"
    )

    def read(value: Any) -> int:
        try:
            wanted = int(value)
        except ValueError:
            wanted = least - 1
        if wanted < least or (most is not None and wanted > most):
            raise UsageError(f"{option} {value}: must be {meant}")
        return wanted

    return read


def number(option: str, *, least: float | None = None, most: float | None = None) -> Callable[[Any], float]:
    """Reads a finite number; with `least` and `most`, one in that range, both ends included."""
    lowest, highest = -math.inf if least is None else least, math.inf if most is None else most
    meant = "a number" if least is None or most is None else f"a number from {least:g} to {most:g}"

    def read(value: Any) -> float:
        try:
            wanted = float(value)
        except ValueError:
            wanted = math.nan
        if not (math.isfinite(wanted) and lowest <= wanted <= highest):
            raise UsageError(f"{option} {value}: must be {meant}")
        return wanted

    return read


def device(value: str) -> str:
    """Reads a --device; whether this machine has it is found out when it is used."""
    check_device(value)
    return value


def precision(value: str) -> str:
    """Reads a --precision."""
    check_precision(value)
    return value


def decoder(value: str) -> str:
    """Reads a --decoder."""
    if value == "auto":  # without the decoders' imports
        return value
    from extractors.decoding.clip_reader import DECODERS

    if value not in DECODERS:
        raise UsageError(f"--decoder: {value!r} is none of {', '.join(DECODERS)}")
    return value


def path_text(option: str) -> Callable[[Any], str]:
    """Reads a path as it was typed; refuses an empty one, as of a variable that nobody set, and an address."""

    def read(value: Any) -> str:
        text = str(value)
        if not text:
            raise UsageError(f"{option}: is empty; name a file or folder")
        if isinstance(place := place_of(text), Address):
            raise UsageError(f"{place}: is in object storage; name a file or folder on this machine here")
        if is_address(text):
            raise UsageError(
                f"{without_secrets(text)}: vtg reads files, not addresses; download it, and name the file"
            )
        return text

    return read


def place_text(option: str) -> Callable[[Any], str]:
    """Reads a path, or an address in object storage, as it was typed; refuses what `path_text` refuses otherwise."""
    path_as_typed = path_text(option)

    def read(value: Any) -> str:
        text = str(value)
        is_object = isinstance(place_of(text), Address)
        return text if is_object else path_as_typed(local_text(text))

    return read


def local_text(text: str) -> str:
    """A `file:///` address as the path that it names; any other text as it is."""
    return str(place_of(text)) if text[:8].lower() == "file:///" else text


def path(option: str) -> Callable[[Any], Path]:
    """Reads a path of what is to be written, or may be missing."""
    text = path_text(option)
    return lambda value: Path(text(value))


def existing(option: str) -> Callable[[Any], Path]:
    """Reads a path of what has to be there already."""

    def read(value: Any) -> Path:
        found = path(option)(value)
        if not exists(found):
            raise UsageError(f"{option} {found}: does not exist")
        return found

    return read


def is_address(text: str) -> bool:
    """Whether a text looks like an address on the network, such as `https://example.com/a.mp4`."""
    return _ADDRESS.match(text) is not None


def exists(place: Path) -> bool:
    """Whether there is something at a path; what cannot be looked at may be there."""
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    return True


def is_same_file(target: Path, other: Path) -> bool:
    """Whether writing to a target would change another file, by whatever name or link it is named."""
    with suppress(OSError):
        return target.samefile(other)
    return False
