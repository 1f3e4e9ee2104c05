"""Library: videos by their content, found by what happens in them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from extractors.errors import UsageError, VideoError
from extractors.extraction.collect import collect_videos
from extractors.extraction.pipeline import ignore
from extractors.places import Place
from extractors.videos.events import Event
from model.grounding.grounder import Grounder, check_queries, require_clear_scores
from model.search.candidates import Candidate, QueryDirections, find_candidates
from model.search.filters import Filters, absolute, is_in
from model.search.intake import ExtractAll, Intake
from model.search.ranking import Grounded, Request, rank
from model.search.results import (
    Changes,
    Finding,
    IndexedRecipe,
    LibraryInfo,
    LibraryVideo,
    SearchResult,
)
from model.search.roots import is_taken_out
from model.search.rows import LibraryRows
from model.search.storage.catalogue import Catalogue, Entries, File
from model.search.storage.index import Snapshot, Writer, covers
from model.search.storage.places import index_at, library_place
from model.search.upkeep import follow, remember, take_out
from model.search.verification import verify

if TYPE_CHECKING:
    from extractors.cues.speech.weights import SpeechModel
    from model.cues.grounder import CueGrounder

_LOOKED_INTO = 50  # videos that are grounded for a query, at least
_LOOKED_INTO_A_HIT = 3
_MOST_CLIPS = 1 << 15  # of the videos that are grounded for a query: nine hours at one clip per second
_ATTEMPTS = 3  # to verify what other processes change
_FEATURES, _FPS = "features", "fps"


class Loader(Protocol):
    """Loads what answers, as `Grounder.load` does."""

    def __call__(self, model: str, *, features: str, fps: float | None) -> Grounder:
        """The grounder of a model and its features."""
        ...


class Library:
    """Videos that are searched together; made by `Library.open`.

        with Library.open("holidays") as library:
            library.add(["videos/"])  # slow once; later only what is new
            for hit in library.search("a dog")[0].hits: ...

    Any number of processes may use a library at once. One object belongs to one thread at a time.

    Attributes:
        folder: of the index files; an `Address` if it is in object storage.
    """

    def __init__(self, folder: Place, load: Loader, model: str, features: str, fps: float | None) -> None:
        self.folder = folder
        self._index = index_at(folder)
        self._load = load
        self._model, self._features, self._fps = model, features, fps

    @classmethod
    def open(
        cls,
        place: str | Place | None = None,
        *,
        model: str = "auto",
        features: str = "auto",
        fps: float | None = None,
        load: Loader = Grounder.load,
    ) -> Library:
        """Open a library, which need not exist yet; nothing is loaded or written before it is needed.

        Args:
            place: its name, or its folder: a `Path`, or text with a separator in it; None for the default library. The
                address of a folder in object storage is a library that many machines share.
            model, features, fps: what answers, as for `Grounder.load`; where all are left as they are, the features
                with which the library was first filled.
            load: loads it. For other arguments of `Grounder.load`: `functools.partial(Grounder.load, device="cpu")`.

        Raises:
            UsageError: if the place cannot be the name of a library, or a package for an address is not installed.
            StorageError: if there are no credentials for an address.
        """
        return cls(library_place(place), load, model, features, fps)

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; they are opened again when they are needed."""
        self._index.close()

    @property
    def exists(self) -> bool:
        """Whether anything was added to it yet."""
        return self._index.exists

    @cached_property
    def grounder(self) -> Grounder:
        """What answers; raises as `Grounder.load`."""
        features, fps = self._features, self._fps
        if (features, fps) == ("auto", None) and self._index.exists:
            catalogue = self._index.catalogue()
            features = catalogue.fact(_FEATURES) or features
            fps = float(text) if (text := catalogue.fact(_FPS)) else None
        return self._load(self._model, features=features, fps=fps)

    def add(
        self,
        paths: Sequence[str | Path],
        *,
        folders: Collection[Path] = (),
        on_event: Callable[[Event], None] = ignore,
        on_start: Callable[[int], None] = lambda count: None,
        extract: ExtractAll | None = None,
    ) -> Changes:
        """Add videos. Features that the cache lacks are extracted first; what is in the library already is skipped.

        Args:
            paths: files, folders and patterns, as for `collect_videos`. `update` looks at them again.
            folders: those around the paths in which `update` is to look for others, too.
            on_event: called as videos are extracted, and with a `VideoFinished` for each.
            on_start: called with the number of videos before the first is looked at.
            extract: extracts the grounder's features into its cache, such as on a cluster; this process does if there
                is none.

        Returns:
            what became of each video. One that cannot be read is reported, and the others are added.

        Raises:
            UsageError: if a path does not exist or holds no video.
            WeightsMissing, WeightsInvalid: if something has to be extracted and an encoder cannot be loaded.
            CacheError, VectorIndexError: if the cache or the library cannot be read or written.
        """
        files = [absolute(path) for path in collect_videos(paths)]
        added = {absolute(path) for path in paths if Path(path).exists()}
        # A pattern stands for the files it matches now.
        added |= {file for file in files if not is_in(file, added)}
        features = (
            self.grounder.model.features
        )  # first: a choice that cannot be loaded leaves no library behind
        around = {absolute(path) for path in folders}

        def begin(writer: Writer) -> None:
            with writer.catalogue.transaction():
                remember(writer.catalogue, added, around)
                if writer.catalogue.fact(_FEATURES) is None:
                    self._note_features(writer.catalogue, features)

        self._index.write(begin)
        on_start(len(files))
        intake = Intake(self._index, self.grounder, on_event, extract)
        return Changes(tuple(intake.take(files)), taken=tuple(intake.taken))

    def update(
        self,
        *,
        rebuild: bool = False,
        on_event: Callable[[Event], None] = ignore,
        on_start: Callable[[int], None] = lambda count: None,
    ) -> Changes:
        """Look for new, changed, moved and deleted videos in the folders that were added, and take them in or out.

        Moved and renamed files are recognised by their content, so nothing is extracted for them. What the index lacks,
        for whatever reason, is made again from the cache. Once all videos have vectors of the features, those of the
        same features that were made in another way are removed; features that were named are from then on the ones
        that searches read.

        Args:
            rebuild: make all vectors again from the cache.
            on_event, on_start: as for `add`.

        Returns:
            what became of each video that is there, and which files have left the library.

        Raises:
            UsageError: if there is no such library; the rest as for `add`.
        """
        self._require()
        changes = follow(self._index, self.grounder, on_event, on_start, rebuild=rebuild)
        if (self._features, self._fps) != ("auto", None):
            specs = [encoder.spec for encoder in self.grounder.video_encoders]

            def note_features(writer: Writer) -> None:
                with writer.catalogue.transaction():
                    if covers(writer.catalogue, specs):
                        self._note_features(writer.catalogue, self.grounder.model.features)

            self._index.write(note_features)
        return changes

    def read_words(
        self,
        filters: Filters = Filters(),
        *,
        screen: bool = False,
        speech: SpeechModel | bool = False,
        cue_grounder: CueGrounder | None = None,
        on_video: Callable[[int, int], None] = lambda done, total: None,
    ) -> tuple[VideoError, ...]:
        """Make what is said and written in the videos ready for `search`: about 10 ms for each new subtitle.

        Subtitles are read, with speech and text on the screen that were read before. What is ready already costs a
        look. Videos that are not on this machine are left out.

        Args:
            filters: conditions on the videos.
            screen: whether to read the text on the screen of all these videos first.
            speech: whether to transcribe the speech in them first, or the weights that transcribe it.
            cue_grounder: reads them; one with the cache of the grounder if None.
            on_video: called with how many videos were read, and how many there are.

        Returns:
            why the words of videos cannot be read.

        Raises:
            UsageError, WeightsMissing, WeightsInvalid, CacheError: as `CueGrounder.read`.
        """
        from model.search.words import prepare_words

        reader = self._cue_grounder() if cue_grounder is None else cue_grounder
        paths = (path for video in self.videos(filters) for path in (video.path, *video.copies))
        here = [path for path in paths if path.is_file()]
        return prepare_words(here, reader, screen=screen, speech=speech, on_video=on_video)

    def remove(self, paths: Sequence[str | Path]) -> Changes:
        """Take videos out of the library, and give their space back. The videos and their cached features stay.

        Args:
            paths: files, folders and patterns; they need not exist any more. `update` does not add them again, though
                a folder around them was added.

        Raises:
            UsageError: if nothing in the library is named so, or there is no such library.
            CacheError, VectorIndexError: if the library cannot be written.
        """
        self._require()
        return Changes(removed=tuple(take_out(self._index, paths)))

    def taken_out(self, paths: Iterable[Path]) -> set[Path]:
        """Those of some absolute paths that `remove` took out, alone or with a folder, and `add` has not brought back.

        Raises:
            CacheError: if the library cannot be read.
        """
        roots = self._index.catalogue().roots() if self._index.exists else {}
        return {path for path in paths if is_taken_out(path, roots)}

    def verify(self, *, on_progress: Callable[[int, int], None] = lambda done, total: None) -> list[Finding]:
        """Compare the library with one that is built now from the folders and the cache.

        Args:
            on_progress: called with the number of videos that are compared, and of all.

        Returns:
            the differences; none if the library is up to date and whole.

        Raises:
            UsageError: if there is no such library, or it changes all the time meanwhile.
            CacheError, VectorIndexError: if the cache or the library cannot be read.
        """
        for _ in range(_ATTEMPTS):
            snapshot = self._require()
            findings = verify(self._index, snapshot, self.grounder, on_progress)
            if not findings or self._index.snapshot() is snapshot:
                return findings
        raise UsageError(f"{self.folder}: is being changed by another process; verify it when that is done")

    def info(self) -> LibraryInfo:
        """Count what the library holds.

        Raises:
            UsageError: if there is no such library.
            CacheError, VectorIndexError: if it cannot be read.
        """
        snapshot = self._require()
        catalogue = self._index.catalogue()
        return LibraryInfo(
            folder=self.folder,
            roots=tuple(path for path, included in catalogue.roots().items() if included),
            videos=len(snapshot.contents),
            files=sum(map(len, snapshot.files.values())),
            duration_s=sum(content.duration_s for content in snapshot.contents.values()),
            unreadable=tuple(catalogue.failures()),
            recipes=tuple(
                IndexedRecipe(
                    recipe.spec,
                    len(snapshot.entries[recipe.id].content_ids),
                    int(snapshot.entries[recipe.id].counts.sum()),
                )
                for recipe in snapshot.recipes
            ),
            size_bytes=self._index.size_bytes,
        )

    def videos(self, filters: Filters = Filters()) -> list[LibraryVideo]:
        """The videos of the library, in order of path; none if there is no such library.

        Args:
            filters: conditions on them.
        """
        snapshot = self._index.snapshot()
        found = []
        for content_id, content in snapshot.contents.items():
            files = filters.choose(content, snapshot.files.get(content_id, ()))
            if files:
                state = files[0].state
                copies = tuple(file.path for file in files[1:])
                found.append(
                    LibraryVideo(
                        files[0].path, copies, content.duration_s, state.size, state.modified_ns / 1e9
                    )
                )
        return sorted(found, key=lambda video: video.path)

    def search(
        self,
        queries: str | Sequence[str],
        *,
        top_k: int = 10,
        per_video: int = 3,
        threshold: float = 0.0,
        only_clear: bool = False,
        filters: Filters = Filters(),
        most_videos: int | None = None,
        grounded: Grounded | None = None,
        cues: CueGrounder | bool = True,
    ) -> list[SearchResult]:
        """Find the moments of all videos that match each query.

        First the likeliest videos are found by their vectors, then these are grounded on their cached rows. What is
        said and written in the videos is searched, too, as far as it is ready: see `read_words`. Without such words,
        the answer is that of the pictures alone.

        Args:
            queries: a sentence, or any number of them.
            top_k: maximum hits per query.
            per_video: maximum hits of one video per query.
            threshold: hits that score less are left out.
            only_clear: whether to leave out hits that do not clearly match.
            filters: conditions on the videos.
            most_videos: how many videos are looked into for each query at most; None for as many as `top_k` hits
                usually come from.
            grounded: answers of earlier searches in this library, which are not made again; those of this search are
                added. So a longer list of hits costs no more than the videos that only it looks into.
            cues: whether words are searched, or what searches them.

        Returns:
            one result per query, in order; its hits best first. Hits have the words that they were found by.

        Raises:
            UsageError: if a query is empty, a number is less than 1, there is no such library, or its features are not
                those of the grounder; or if only clear matches are wanted, but the model's scores only rank moments.
            WeightsMissing, WeightsInvalid, CacheError, VectorIndexError: if something cannot be loaded.
        """
        queries = [queries] if isinstance(queries, str) else list(queries)
        check_queries(queries)
        if min(top_k, per_video) < 1:
            raise UsageError("--top-k and --per-video must be at least 1")
        if most_videos is not None and most_videos < 1:
            raise UsageError("most_videos must be at least 1")
        snapshot = self._require()
        grounder = self.grounder
        if only_clear:
            require_clear_scores(grounder.model)
        self._require_features(snapshot)
        directions = QueryDirections(grounder)
        entries = snapshot.entries_of(directions.spec)
        if entries is None:  # every video failed so far
            return [SearchResult(query, (), None, 0, 0) for query in queries]
        files = _chosen(snapshot, entries, filters)
        wanted = np.array([one in files for one in entries.content_ids.tolist()], dtype=np.bool_)
        found = find_candidates(
            self._index.vectors(directions.spec),
            entries,
            directions.of(queries),
            most=max(_LOOKED_INTO, _LOOKED_INTO_A_HIT * top_k) if most_videos is None else most_videos,
            wanted=None if wanted.all() else wanted,
        )
        clip_length_s = directions.spec.clip_length_s
        candidates = [_affordable(of_query, snapshot, clip_length_s, top_k) for of_query in found]
        request = Request(top_k, per_video, threshold, only_clear)
        results = rank(
            grounder,
            queries,
            candidates,
            snapshot.contents,
            files,
            request,
            videos=len(files),
            grounded=Grounded() if grounded is None else grounded,
            rows=LibraryRows.of(self._index, grounder.cache),
        )
        if cues is False:
            return results
        from model.search.words import join_words, videos_with_words

        cue_grounder = self._cue_grounder() if cues is True else cues
        spoken = list(videos_with_words(snapshot.contents, files, cue_grounder))
        return join_words(results, spoken, request, cue_grounder) if spoken else results

    def _cue_grounder(self) -> CueGrounder:
        from model.cues.grounder import CueGrounder

        return CueGrounder(self.grounder.cache)

    def _note_features(self, catalogue: Catalogue, features: Sequence[str]) -> None:
        """Note what a search reads where nobody names features."""
        catalogue.note(_FEATURES, ",".join(features))
        catalogue.note(_FPS, "" if self._fps is None else str(self._fps))

    def _require(self) -> Snapshot:
        if not self._index.exists:
            raise UsageError(f"{self.folder}: there is no library here; make one: vtg index add FOLDER")
        return self._index.snapshot()

    def _require_features(self, snapshot: Snapshot) -> None:
        """Raise UsageError if the library has vectors, but none of the features of the grounder."""
        missing = [
            encoder.spec.name
            for encoder in self.grounder.video_encoders
            if not snapshot.entries_of(encoder.spec)
        ]
        if not missing or not snapshot.recipes:
            return
        held = ", ".join(
            f"{recipe.spec.name} ({1 / recipe.spec.clip_length_s:g} fps)" for recipe in snapshot.recipes
        )
        raise UsageError(
            f"{self.folder}: holds {held}, not {', '.join(missing)} as {self.grounder.model.name} "
            "reads them here; `vtg index update` with the same options makes them"
        )


def _affordable(
    candidates: Sequence[Candidate], snapshot: Snapshot, clip_length_s: float, top_k: int
) -> Sequence[Candidate]:
    """The likeliest videos: as many as hits are asked for, and more up to a number of clips."""
    clips = [snapshot.contents[one.content_id].duration_s / clip_length_s for one in candidates]
    return candidates[: max(top_k, int((np.cumsum(clips) <= _MOST_CLIPS).sum()))]


def _chosen(snapshot: Snapshot, entries: Entries, filters: Filters) -> Mapping[int, Sequence[File]]:
    """The files that may be hits, of each content that has any."""
    held = {one: snapshot.files[one] for one in entries.content_ids.tolist()}
    if filters == Filters():
        return held
    chosen = {one: filters.choose(snapshot.contents[one], files) for one, files in held.items()}
    return {one: files for one, files in chosen.items() if files}
