"""Files that agents write: in one folder, in the formats of vtg, and never in place of another file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from extractors.errors import UsageError, VtgError, reason_of

if TYPE_CHECKING:
    from model.grounding.results import GroundingResult

_NAME = re.compile(r"[^\W_][^/\\:*?\"<>|\x00-\x1f\x7f]{0,199}")


def export(
    results: Sequence[GroundingResult], form_name: str, name: str, folder: Path | None, *, all_moments: bool
) -> Path:
    """Write results to a new file.

    Args:
        results: what to write.
        form_name: name of the format.
        name: of the file, without a folder; the ending of the format is added if it lacks it.
        folder: where files may be written; None if nowhere.
        all_moments: whether formats that cannot mark them hold moments that do not clearly match, too.

    Returns:
        the file.

    Raises:
        UsageError: if files cannot be written, the name or the format is wrong, there already is such a file, or the
            format cannot hold the results.
        VtgError: if the file cannot be written.
    """
    from vtg_cli.writers.formats import findings, require_format, write_output

    form = require_format(form_name)
    if folder is None:
        raise UsageError("this server writes no files; the user can allow it with vtg mcp --output FOLDER")
    kept = findings(results, all_moments=all_moments or form.marks_unclear)
    if not any(result.moments for result in kept):
        advice = "; with all_moments it holds the likeliest places" if any(r.moments for r in results) else ""
        raise UsageError(f"there is nothing to write: no moment clearly matches{advice}")
    if form.holds_one_video and len({result.video for result in kept}) > 1:
        raise UsageError(
            f"{form.name}: holds one video, but the moments are of several; find moments in each video, and export "
            "one file per video"
        )
    target = _reserve(folder, name if name.endswith(form.ending) else name + form.ending)
    try:
        write_output(kept, str(target), form)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return target


def _reserve(folder: Path, name: str) -> Path:
    """Make an empty file, which nothing but a new name can be."""
    if not _NAME.fullmatch(name) or name.endswith((" ", ".")):
        raise UsageError(
            f"{name!r}: is not a name for a file; use a plain one, without folders, such as cats.csv"
        )
    target = folder.resolve() / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.open("x").close()
    except FileExistsError:
        raise UsageError(
            f"{name}: already exists, and files are never overwritten; choose another name"
        ) from None
    except OSError as error:
        raise VtgError(f"{target}: cannot be written ({reason_of(error)})") from error
    return target
