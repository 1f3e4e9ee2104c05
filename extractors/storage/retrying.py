"""Requests that are repeated while their faults are transient."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TypeVar

from extractors.places import Address
from extractors.storage.faults import ObjectMissing, StorageError, fault_of

RETRIES = 5
"""Requests after the first that may fail in a row."""

BACKOFF_S = 0.5
"""Seconds before the first of them; doubled for each further one."""

_T = TypeVar("_T")


class Attempts:
    """How often something has failed since it last got on.

    Args:
        address: what it is about.
        stop: where it is set, nothing is tried again.
        writing: whether an object is to be written.
    """

    def __init__(
        self, address: Address, stop: threading.Event | None = None, *, writing: bool = False
    ) -> None:
        self._address = address
        self._stop = stop or threading.Event()
        self._writing = writing
        self._failed = 0

    def got_on(self) -> None:
        """Forget the faults so far."""
        self._failed = 0

    def failed(self, error: Exception) -> None:
        """Wait before the next attempt.

        Raises:
            StorageError: if there is none, because the fault would stay or there were too many.
        """
        fault = fault_of(error, writing=self._writing)
        if not fault.is_transient or self._failed == RETRIES:
            kind = ObjectMissing if fault.is_missing else StorageError
            raise kind(self._address, fault.reason) from error
        # Workers that failed together do not come back together.
        delay_s = BACKOFF_S * 2**self._failed * random.uniform(0.5, 1.0)
        self._failed += 1
        self._stop.wait(delay_s)
        self.require_wanted()

    def require_wanted(self) -> None:
        """Raise StorageError if nobody wants the result any more."""
        if self._stop.is_set():
            raise StorageError(self._address, "is no longer needed")


def retried(
    address: Address, request: Callable[[], _T], stop: threading.Event | None = None, *, writing: bool = False
) -> _T:
    """Make a request, and repeat it while its fault is transient.

    Raises:
        StorageError: if it fails for good; `__cause__` is the last fault.
    """
    attempts = Attempts(address, stop, writing=writing)
    while True:
        try:
            return request()
        except Exception as error:
            attempts.failed(error)
