"""The rows of the videos of a library in object storage, for machines that do not share a cache.

    <library>/rows/<name>-<spec digest>/<content of the video>.npz    an entry of the feature cache, byte for byte

Rows are stored before their video is in the catalogue, and removed after it has left. So the catalogue names no video
without its rows, except where one machine adds what another removes at that moment; `update` then stores them again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from extractors.features import FeatureSpec, folder_name
from extractors.places import Address
from extractors.storage.listing import states_under
from extractors.storage.objects import create, read_object, remove
from model.search.storage.generations import in_parallel

_CONNECTIONS = 4
_ABANDONED_S = 86_400.0  # before the newest rows; those of no video are then of a writer that was killed


class StoredRows:
    """The rows of one library.

    Args:
        library: its folder in object storage.
    """

    def __init__(self, library: Address) -> None:
        self._folder = library / "rows"

    def load(self, spec: FeatureSpec, address: str) -> bytes | None:
        """The entry of a content, unchecked; None if there is none. Raises StorageError if it cannot be read."""
        return read_object(self._place(spec, address))

    def addresses(self, spec: FeatureSpec) -> set[str]:
        """The contents that have rows of a recipe; raises StorageError if they cannot be listed."""
        return {place.stem for place in states_under(self._of(spec))}

    def remove(self, addresses: Collection[str], specs: Iterable[FeatureSpec]) -> None:
        """Remove the rows of contents; raises StorageError if they cannot be removed."""
        in_parallel(remove, [self._place(spec, address) for spec in specs for address in addresses])

    def remove_recipe(self, spec: FeatureSpec) -> None:
        """Remove all rows of a recipe; raises StorageError if they cannot be listed or removed."""
        in_parallel(remove, list(states_under(self._of(spec))))

    def remove_abandoned(self, addresses: Collection[str]) -> None:
        """Remove rows of videos that are not in the library, unless they may be on their way into it.

        Args:
            addresses: of the contents that the library holds.

        Raises:
            StorageError: if they cannot be listed or removed.
        """
        states = states_under(self._folder)
        times = {place: time for place, state in states.items() if (time := state.modified_s) is not None}
        newest_s = max(times.values(), default=0.0)
        old = [
            place
            for place, time in times.items()
            if newest_s - time > _ABANDONED_S and place.stem not in addresses
        ]
        in_parallel(remove, old)

    def _of(self, spec: FeatureSpec) -> Address:
        return self._folder / f"{folder_name(spec.name)}-{spec.digest()}"

    def _place(self, spec: FeatureSpec, address: str) -> Address:
        return self._of(spec) / f"{address}.npz"

    def uploads(self) -> Uploads:
        """What uploads rows while others are made."""
        return Uploads(self._place)


class Uploads:
    """Uploads rows, some at a time.

    Args:
        place: where the rows of a recipe and a content go.
    """

    def __init__(self, place: Callable[[FeatureSpec, str], Address]) -> None:
        self._place = place
        self._pool = ThreadPoolExecutor(_CONNECTIONS)
        self._under_way: list[Future[bool]] = []

    def add(self, spec: FeatureSpec, address: str, entry: bytes) -> None:
        """Begin to upload the entry of a content, unless it has one."""
        self._under_way.append(self._pool.submit(create, self._place(spec, address), entry))

    def wait(self) -> None:
        """Wait until all are stored; raises StorageError if one cannot be."""
        while self._under_way:
            self._under_way.pop().result()

    def close(self) -> None:
        """Give up what has not begun."""
        self._pool.shutdown(cancel_futures=True)
