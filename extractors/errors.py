"""Errors a person can act on: what is wrong, with which file, what to do next."""

from __future__ import annotations

from extractors.places import Place, place_of


class VtgError(Exception):
    """Base of every error that is shown to a person as one line, without a traceback.

    Args:
        message: what is wrong, with which file, and what to do next.
    """


class UsageError(VtgError):
    """The call is wrong: an unknown name, a value out of range, options that exclude each other."""


class VideoError(VtgError):
    """One video cannot be read.

    Args:
        path: the file, or the object in object storage.
        reason: what is wrong with it, without the file name.
    """

    def __init__(self, path: str | Place, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = place_of(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[Place, str]]:
        return type(self), (self.path, self.reason)


def reason_of(error: Exception) -> str:
    """What the system says is wrong, without the name of a file."""
    return getattr(error, "strerror", None) or str(error)


class WeightsMissing(VtgError):
    """Weights are not on this machine and cannot be downloaded; the message explains how to get them."""


class WeightsInvalid(VtgError):
    """A weights file is damaged, has another architecture, or does not match its name."""


class FeatureMismatch(VtgError):
    """Features differ from what a model was trained on; the message names both sides."""


class CacheError(VtgError):
    """The feature cache cannot be read or written (permissions, full disk)."""


class NameTaken(CacheError):
    """An output file exists already and belongs to another video of the same name."""
