"""How a library follows its folders: what was added is remembered, looked at again, and taken out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from extractors.errors import UsageError
from extractors.places import local_path
from model.grounding.grounder import Grounder
from model.search.filters import absolute, is_in, matches
from model.search.intake import Intake, Listener
from model.search.results import Changes
from model.search.roots import Roots, gone, is_included, is_missing, look_at
from model.search.storage.access import LibraryIndex
from model.search.storage.catalogue import Catalogue, File, Recipe
from model.search.storage.index import Writer, covers, superseded


def remember(catalogue: Catalogue, added: Collection[Path], around: Collection[Path] = ()) -> None:
    """Note what is added, in a transaction.

    Args:
        catalogue: of the library.
        added: folders and files.
        around: folders around some of them, which are followed from now on.
    """
    added, around = set(added), set(around)
    # What was removed from a folder that is added again comes back with it.
    catalogue.remove_roots(path for path in catalogue.roots() if is_in(path, added))
    roots = catalogue.roots()
    followed = around | {path for path in added if not is_in(path, around)}
    catalogue.put_roots((path for path in sorted(followed) if not is_included(path, roots)), included=True)


def follow(
    index: LibraryIndex,
    grounder: Grounder,
    listen: Listener,
    on_start: Callable[[int], None],
    *,
    rebuild: bool,
) -> Changes:
    """Make a library hold what its folders hold now; arguments, result and errors as of `Library.update`."""
    specs = [encoder.spec for encoder in grounder.video_encoders]

    if rebuild and index.rows is not None:
        held = index.catalogue()
        if away := look_at(held.roots(), held.files()).unreachable:
            raise UsageError(
                f"{away[0]}: is not there, so its vectors cannot be made again; use --rebuild on a machine that has "
                "the videos"
            )

    def begin(writer: Writer) -> tuple[Roots, dict[Path, File]]:
        writer.settle()
        if rebuild:
            writer.remove_recipes([recipe for recipe in writer.catalogue.recipes() if recipe.spec in specs])
        return writer.catalogue.roots(), writer.catalogue.files()

    roots, known = index.write(begin)
    sight = look_at(roots, known)
    on_start(len(sight.videos))
    intake = Intake(index, grounder, listen)
    results = intake.take(sight.videos)
    failed = [local_path(result.path) for result in results if result.status == "failed"]
    leaving = gone(known.values(), roots, sight, failed)

    def end(writer: Writer) -> tuple[list[Path], list[Recipe]]:
        catalogue = writer.catalogue
        # Another process may have changed them meanwhile.
        now = catalogue.files()
        removed = [path for path in leaving if now.get(path) == known[path]]
        writer.remove_files(removed)
        with catalogue.transaction():
            catalogue.remove_roots(path for path in removed if roots.get(path))
            catalogue.remove_failures(path for path in catalogue.failures() if is_missing(path))
        old = superseded(catalogue, specs) if covers(catalogue, specs) else []
        writer.remove_recipes(old)
        return removed, old

    removed, old = index.write(end)
    if index.rows is not None:
        for spec in {recipe.spec for recipe in old} - set(
            specs
        ):  # vectors may be made in another way of the same rows
            index.rows.remove_recipe(spec)
        index.rows.remove_abandoned(index.snapshot().addresses)
    return Changes(tuple(results), tuple(removed), sight.unreachable, tuple(intake.taken))


def take_out(index: LibraryIndex, paths: Sequence[str | Path]) -> list[Path]:
    """Take files, folders and what patterns match out of a library.

    Returns:
        the files that it held of them.

    Raises:
        UsageError: if it holds nothing of one of them.
    """

    def remove(writer: Writer) -> list[Path]:
        catalogue = writer.catalogue
        roots, known = catalogue.roots(), catalogue.files()
        held = {place for path in (*known, *roots) for place in (path, *path.parents)}
        places: set[Path] = set()
        wrong = []
        for path in paths:
            place = absolute(path)
            found = {place} if place in held else {one for one in known if matches(one, str(path))}
            places |= found
            wrong += [] if found else [str(path)]
        if wrong:
            raise UsageError(f"not in the library {index.place}: {', '.join(wrong)}")
        with catalogue.transaction():
            catalogue.remove_roots(root for root in roots if is_in(root, places))
            kept = catalogue.roots()
            # What is gone, and in no folder that is followed, cannot come back.
            left_out = (place for place in places if is_included(place, kept) or not is_missing(place))
            catalogue.put_roots(left_out, included=False)
        removed = [path for path in known if is_in(path, places)]
        writer.remove_files(removed)
        return removed

    return index.write(remove)
