"""The feature cache on disk: encode a video or a query once, then read it back in milliseconds.

    <root>/<name>-<spec digest>/spec.json
    <root>/<name>-<spec digest>/<name>_features/<content of the video>.npz
    <root>/<name>-<spec digest>/<name>_text_features/<query>.npz

An entry's path depends on its input and its recipe. A renamed or copied video is found again, and another recipe makes
another entry. Arrays are stored in half precision under the names of the published features (`features`;
`last_hidden_state` and `pooler_output`), and plain `numpy.load` reads them. Each entry also has a record of its origin
with a checksum. An entry counts as missing if it is damaged, in the wrong place, or made from a video that differs in a
single byte. `.files` remembers the hashes of videos by path, size and times, so that a video is read in full only once.

Reading needs only numpy: a query with cached features starts without torch and without a decoder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from extractors.cache.blobs import Blobs
from extractors.cache.claims import Claim
from extractors.cache.documents import DOCUMENTS, Documents
from extractors.cache.entry import read_file, read_record, write_entry
from extractors.cache.features import CachedFeatures, entry_of, features_of
from extractors.cache.object_records import content_in, record_name, record_of
from extractors.cache.published import PublishedFeatures
from extractors.cache.usage import CacheInfo, Cleared, SpecUsage
from extractors.errors import CacheError, VideoError
from extractors.features import FeatureSpec, TextFeatures, folder_name
from extractors.files.atomic import atomic_write, remove_leftovers, write_failure
from extractors.files.identity import Identity, KnownContent, VideoIdentity
from extractors.files.user_folders import vtg_home
from extractors.places import Address, Place, place_of
from extractors.storage.listing import ObjectState
from extractors.videos.facts import VideoFacts, VideoInfo

_LEFTOVER_AGE_S = 3600.0  # a write takes milliseconds: a temporary file this old has no writer any more
_FOLDER_NAME = re.compile(r".+-[0-9a-f]{16}")
_FILES = ".files"
_ELSEWHERE = "--cache or VTG_CACHE may name another folder for the cache"


def default_root() -> Path:
    """Where features are stored: `$VTG_CACHE`, else `$VTG_HOME/features`, else the user's cache folder."""
    if root := os.environ.get("VTG_CACHE"):
        return Path(root).expanduser()
    return vtg_home() / "features"


class FeatureCache:
    """Features on disk, shared by any number of processes.

    Args:
        root: the folder; `default_root()` if not given. It is made when something is first stored.
        on_write_error: called with the first error where something cannot be kept, which is then not raised: for
            callers that want the features more than they want them kept.
    """

    def __init__(
        self, root: str | Path | None = None, *, on_write_error: Callable[[CacheError], None] | None = None
    ) -> None:
        self.root = default_root() if root is None else Path(root)
        self._on_write_error = on_write_error
        self._told = False

    def identify(self, path: str | Path, *, stop: threading.Event | None = None) -> VideoIdentity:
        """What a video holds, with what this cache remembers of the file; arguments, errors as of `VideoIdentity`."""
        return VideoIdentity(path, self.root / _FILES, stop=stop)

    def load_video(
        self, path: str | Place, spec: FeatureSpec, *, identity: Identity | None = None
    ) -> CachedFeatures | None:
        """Look up the features of a video. If there are some, the whole video may have to be read.

        Args:
            path: the video file.
            spec: what its features must be.
            identity: `identify(path)`, where it is known already.

        Returns:
            The features; None if there are none, or none that can be trusted.

        Raises:
            VideoError: if the video cannot be read.
            CacheError: if the cache cannot be read.
        """
        identity = identity or self.identify(_on_this_machine(path))
        return self._load(path, spec, identity.address, identity.content)

    def load_content(
        self, address: str, content: str, spec: FeatureSpec, *, path: str | Place
    ) -> CachedFeatures | None:
        """Look up the features of a content that is known by its identity; no video file is read.

        Args:
            address, content: of a `VideoIdentity`.
            spec: what the features must be.
            path: where a video of this content is, or was.

        Returns:
            The features; None if there are none, or none that can be trusted.

        Raises:
            CacheError: if the cache cannot be read.
        """
        return self._load(path, spec, address, lambda: content)

    def adopt(
        self, address: str, content: str, spec: FeatureSpec, data: bytes, *, path: str | Place
    ) -> CachedFeatures | None:
        """Take an entry of another cache in.

        Args:
            address, content, spec, path: as for `load_content`.
            data: the bytes of the entry.

        Returns:
            The features; None, and nothing is stored, if they cannot be trusted.

        Raises:
            CacheError: if the cache cannot be written.
        """
        found = features_of(data, spec, address, lambda: content, place_of(path))
        if found is not None:
            self._store(self._video_entry(address, spec), spec, lambda file: file.write(data))
        return found

    def holds(self, address: str, spec: FeatureSpec) -> bool:
        """Whether there is an entry for an address of a `VideoIdentity`; only loading it shows whether it is intact."""
        return self._video_entry(address, spec).exists()

    def _load(
        self, path: str | Place, spec: FeatureSpec, address: str, content_of: Callable[[], str]
    ) -> CachedFeatures | None:
        data = _read_bytes(self._video_entry(address, spec))
        return None if data is None else features_of(data, spec, address, content_of, place_of(path))

    def store_video(
        self,
        path: str | Place,
        spec: FeatureSpec,
        features: NDArray[np.floating[Any]],
        info: VideoInfo,
        *,
        facts: VideoFacts = VideoFacts(),
        identity: Identity | None = None,
    ) -> CachedFeatures:
        """Store the features of a video, replacing any that are there.

        Args:
            path: the video file.
            spec: what the features are.
            features: (N, dim), one row per clip.
            info: the video.
            facts: what decoding found out about it.
            identity: `identify(path)` of before it was decoded.

        Returns:
            The features as they will be read back.

        Raises:
            ValueError: if the shape is not that of the spec, or a value is not finite in half precision.
            VideoError: if the video cannot be read.
            CacheError: if the cache cannot be written.
        """
        if features.ndim != 2 or features.shape[1] != spec.dim:
            raise ValueError(f"'{spec.name}' features are (N, {spec.dim}), not {features.shape}")
        identity = identity or self.identify(_on_this_machine(path))
        video = {**asdict(info), "name": place_of(path).name}
        del video["path"]
        origin = {"video": video, "content": identity.content(), **facts.to_json()}
        arrays = self._write(
            self._video_entry(identity.address, spec),
            spec,
            identity.address,
            {"features": features},
            origin,
        )
        return CachedFeatures(spec, arrays["features"], info, facts)

    def load_text(self, query: str, spec: FeatureSpec) -> TextFeatures | None:
        """Look up an encoded query; None if there is no intact one.

        Raises:
            CacheError: if the cache cannot be read.
        """
        identity = _query_identity(query)
        entry = self._read(self._text_entry(identity, spec), spec, identity)
        if entry is None:
            return None
        tokens, pooled = entry[0].get("last_hidden_state"), entry[0].get("pooler_output")
        if (
            tokens is None
            or pooled is None
            or tokens.ndim != 2
            or tokens.shape[1] != spec.dim
            or pooled.ndim != 1
        ):
            return None
        return TextFeatures(tokens, pooled)

    def store_text(self, query: str, spec: FeatureSpec, text: TextFeatures) -> TextFeatures:
        """Store an encoded query.

        Returns:
            The query's features as they will be read back, in the values of half precision.

        Raises:
            ValueError: if the shapes are not those of the spec, or a value is not finite in half precision.
            CacheError: if the cache cannot be written.
        """
        if text.tokens.ndim != 2 or text.tokens.shape[1] != spec.dim or text.pooled.ndim != 1:
            raise ValueError(
                f"'{spec.name}' text features are (T, {spec.dim}) and (E,), "
                f"not {text.tokens.shape} and {text.pooled.shape}"
            )
        identity = _query_identity(query)
        arrays = self._write(
            self._text_entry(identity, spec),
            spec,
            identity,
            {"last_hidden_state": text.tokens, "pooler_output": text.pooled},
            {"query": query},
            durable=False,
        )
        return TextFeatures(arrays["last_hidden_state"], arrays["pooler_output"])

    def export(self, path: str | Path, specs: Sequence[FeatureSpec], out_dir: str | Path) -> list[Path]:
        """Copy the features of a video out in the published layout, `<out_dir>/<name>_features/<vid>.npz`.

        The video's id is its file name without the suffix, as in the annotations of the datasets.

        Args:
            path: the video file.
            specs: which of its features; all must be in the cache.
            out_dir: where to; made if missing.

        Returns:
            The files, in the order of `specs`.

        Raises:
            VideoError: if the video cannot be read.
            NameTaken: if a file of the same id holds those of another video or recipe.
            CacheError: if features are missing, or `out_dir` cannot be written.
        """
        identity = self.identify(path)
        for spec in specs:
            if self.load_video(path, spec, identity=identity) is None:
                raise CacheError(f"no '{spec.name}' features of {path} in {self.root}; extract them first")
        entries = {spec: self.entry(identity.address, spec) or b"" for spec in specs}
        files = PublishedFeatures(Path(out_dir)).write(Path(path), entries, identity)
        return [file for file in files if isinstance(file, Path)]

    def entry(self, address: str, spec: FeatureSpec) -> bytes | None:
        """The bytes of the entry for an address of a `VideoIdentity`, unchecked; None if there is none.

        Raises:
            CacheError: if the cache cannot be read.
        """
        return _read_bytes(self._video_entry(address, spec))

    def documents(self, name: str, recipe: str) -> Documents:
        """What is kept of videos beside their features, such as the cues in them.

        Args:
            name: of the kind of documents.
            recipe: version of how they are made; raised whenever the same video would give another document.
        """
        return Documents(self.root, name, recipe, on_write_error=self._pass_over)

    def blobs(self, name: str, recipe: str) -> Blobs:
        """What is derived from other entries, such as the outlines of transcripts; arguments as of `documents`."""
        return Blobs(self.root, name, recipe)

    def recall(self, video: Address, state: ObjectState) -> KnownContent | None:
        """The content of an object in object storage in a state, if it is remembered."""
        with suppress(OSError):
            return content_in((self.root / _FILES / record_name(video)).read_bytes(), state)
        return None

    def remember(self, video: Address, state: ObjectState, content: KnownContent) -> None:
        """Remember the content of an object; without effect if its state does not name its content."""
        # A place that cannot be written costs another download.
        if data := record_of(state, content):
            with (
                suppress(OSError),
                atomic_write(self.root / _FILES / record_name(video), durable=False) as file,
            ):
                file.write(data)

    def info(self) -> CacheInfo:
        """Count what is in the cache; raises CacheError if it cannot be read."""
        usages = []
        for folder in self._spec_folders():
            entries = list(_entries(folder))
            if entries:
                size_bytes = sum(size for _, size, _ in entries)
                outdated = sum(not _is_current(path) for path, _, _ in entries)
                usages.append(SpecUsage(folder.name, _read_spec(folder), len(entries), size_bytes, outdated))
        return CacheInfo(self.root, tuple(usages))

    def clear(self, spec: FeatureSpec | str | None = None, *, older_than_s: float = 0.0) -> Cleared:
        """Remove entries, and folders left without entries; nothing else.

        Args:
            spec: only those of this recipe, named by its folder as in `info` if it is a string; or of all
                recipes of this feature name; everything if None.
            older_than_s: only those stored longer ago than this, in seconds.

        Raises:
            CacheError: if an entry cannot be removed.
        """
        newest_s = time.time() - older_than_s
        files = size_bytes = 0
        for folder in self._spec_folders():
            if spec is not None and not _is_of(folder, spec):
                continue
            for path, size, stored_s in _entries(folder):
                if stored_s <= newest_s:
                    with _writing(path):
                        path.unlink(missing_ok=True)
                    files += 1
                    size_bytes += size
            _remove_if_empty(folder)
        if spec is None:
            for record in (self.root / _FILES).glob("*.json"):
                with suppress(OSError):  # worth nothing without the entries
                    if record.stat().st_mtime <= newest_s:
                        record.unlink()
        self.sweep()
        return Cleared(files, size_bytes)

    def try_claim(self, address: str) -> Claim | None:
        """Claim a video for extraction, so that two processes do not do the same work; does not wait.

        What a process that was killed held is free again; what it left half written of this video is removed.

        Args:
            address: of the video's content, as of `VideoIdentity`.

        Returns:
            The claim; None if another process, or another thread, has it.

        Raises:
            CacheError: if the cache cannot be written.
        """
        try:
            return self._claim(address)
        except CacheError as error:
            self._pass_over(error)
            return Claim(None, Path())

    def _claim(self, address: str) -> Claim | None:
        from filelock import FileLock, Timeout

        path = self._claims_folder / f"{address}.lock"
        lock = FileLock(path, thread_local=False)
        with _writing(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            was_held = path.exists()
            try:
                lock.acquire(blocking=False)
            except Timeout:
                return None
        # Releasing a claim removes its file. Only a kill leaves files behind, and looking for them takes time in
        # proportion to the entries.
        if was_held:
            for folder in self._spec_folders():
                for kind in folder.glob("*_features"):
                    remove_leftovers(kind, f"{address}.npz")
        return Claim(lock, path)

    def sweep(self) -> None:
        """Remove what killed processes left: temporary files older than an hour, claims nobody holds."""
        for folder in self._spec_folders():
            for place in (folder, *folder.glob("*_features")):
                remove_leftovers(place, older_than_s=_LEFTOVER_AGE_S)
        remove_leftovers(self.root / _FILES, older_than_s=_LEFTOVER_AGE_S)
        for lock in self._claims_folder.glob("*.lock"):
            # A cache that cannot be written keeps its litter, and can still be read.
            with suppress(CacheError):
                if claim := self._claim(lock.stem):
                    claim.release()

    def _pass_over(self, error: CacheError) -> None:
        """Raise a write error, or report it once, depending on how this cache was made."""
        if self._on_write_error is None:
            raise error
        if not self._told:
            self._told = True
            self._on_write_error(error)

    @property
    def _claims_folder(self) -> Path:
        return self.root / ".claims"

    def _spec_folder(self, spec: FeatureSpec) -> Path:
        return self.root / _folder_of(spec)

    def _video_entry(self, address: str, spec: FeatureSpec) -> Path:
        return self._spec_folder(spec) / f"{folder_name(spec.name)}_features" / f"{address}.npz"

    def _text_entry(self, identity: str, spec: FeatureSpec) -> Path:
        return self._spec_folder(spec) / f"{folder_name(spec.name)}_text_features" / f"{identity}.npz"

    def _spec_folders(self) -> list[Path]:
        try:
            return sorted(
                folder
                for folder in self.root.iterdir()
                if _FOLDER_NAME.fullmatch(folder.name) and folder.is_dir()
            )
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CacheError(f"cannot read the feature cache {self.root}: {error.strerror}") from error

    def _read(
        self, entry: Path, spec: FeatureSpec, identity: str
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]] | None:
        data = _read_bytes(entry)
        return None if data is None else entry_of(data, spec, identity)

    def _write(
        self,
        entry: Path,
        spec: FeatureSpec,
        identity: str,
        arrays: Mapping[str, NDArray[np.floating[Any]]],
        origin: Mapping[str, Any],
        *,
        durable: bool = True,
    ) -> dict[str, NDArray[np.float32]]:
        with np.errstate(over="ignore"):  # what overflows is refused below, by name
            halves = {key: np.asarray(array).astype(np.float16) for key, array in arrays.items()}
        for key, half in halves.items():
            if not np.isfinite(half).all():
                raise ValueError(f"'{spec.name}' {key} hold values that are not finite in half precision")
        record = {"identity": identity, "spec": spec.to_json(), **origin}
        self._store(entry, spec, lambda file: write_entry(file, halves, record), durable=durable)
        return {key: half.astype(np.float32) for key, half in halves.items()}

    def _store(
        self, entry: Path, spec: FeatureSpec, write: Callable[[BinaryIO], object], *, durable: bool = True
    ) -> None:
        """Write an entry, and first the description of its recipe, if there is none yet."""
        description = self._spec_folder(spec) / "spec.json"
        try:
            with _writing(entry):
                if not description.exists():  # first, so that no kill leaves an entry without it
                    with atomic_write(description) as file:
                        file.write(json.dumps(spec.to_json(), indent=2).encode())
                with atomic_write(entry, durable=durable) as file:
                    write(file)
        except CacheError as error:
            self._pass_over(error)


def _folder_of(spec: FeatureSpec) -> str:
    return f"{folder_name(spec.name)}-{spec.digest()}"


def _query_identity(query: str) -> str:
    return hashlib.blake2b(query.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _on_this_machine(video: str | Place) -> Path:
    place = place_of(video)
    if isinstance(place, Address):
        raise VideoError(place, "is not on this machine, and its identity is not given")
    return place


def _read_bytes(path: Path) -> bytes | None:
    try:
        return read_file(path)
    except OSError as error:
        raise CacheError(f"cannot read {path} ({error.strerror}); {_ELSEWHERE}") from error


@contextmanager
def _writing(path: Path, advice: str = _ELSEWHERE) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CacheError(f"cannot write {path} ({write_failure(error)}); {advice}") from error


def _entries(folder: Path) -> Iterator[tuple[Path, int, float]]:
    """Path, size in bytes and time of storing of every entry of a recipe that does not vanish meanwhile."""
    patterns = ("*_features/*.npz", f"{DOCUMENTS}/*.json", f"{DOCUMENTS}/*.bin")
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        with suppress(FileNotFoundError):
            stat = path.stat()
            yield path, stat.st_size, stat.st_mtime


def _is_current(entry: Path) -> bool:
    """Whether an entry has this version. Only a full read shows whether it is intact."""
    if entry.parent.name == DOCUMENTS:  # documents of another recipe are in another folder
        return True
    record = read_record(entry)
    return record is not None and ("query" in record or "content" in record)


def _read_spec(folder: Path) -> FeatureSpec | None:
    try:
        return FeatureSpec.from_json(json.loads((folder / "spec.json").read_bytes()))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _is_of(folder: Path, spec: FeatureSpec | str) -> bool:
    if isinstance(spec, str):
        return folder_name(spec) in (folder.name, folder.name.rpartition("-")[0])
    return folder.name == _folder_of(spec)


def _remove_if_empty(folder: Path) -> None:
    if any(True for _ in _entries(folder)):
        return
    # rmdir refuses a folder that another process has just stored into.
    with suppress(OSError):
        for child in folder.iterdir():
            if child.is_dir():
                child.rmdir()
        (folder / "spec.json").unlink(missing_ok=True)
        folder.rmdir()
