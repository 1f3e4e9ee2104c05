"""Saliency curves and moments as a picture, for papers, slides and tickets."""

from __future__ import annotations

import logging
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extractors.errors import UsageError, VtgError, reason_of
from vtg_cli.drawing.curve import COLOURS, MOST_ROWS, evenly_spaced, rows, score_range, time_ticks
from vtg_cli.terminal.console import note, one_line
from vtg_cli.terminal.timecode import timecode
from vtg_cli.terminal.verdict import basis

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from model.grounding.results import GroundingResult

SUFFIXES = (".png", ".svg")
"""Endings of the pictures that can be written."""

THUMBNAILS = 8

_WIDTH_IN, _PANEL_IN, _LEFT_IN, _RIGHT_IN = 10.0, 1.5, 0.6, 0.2
_HEAD_IN, _GAP_IN, _AXIS_IN, _FOOT_IN = 0.35, 0.65, 0.35, 0.1
_ROW_IN = 0.2  # between the marks of moments that overlap
_STRIP_IN = 1.0  # at most
_DPI = 150
_MOST_PIXELS = 60_000  # matplotlib refuses pictures of 2^16 a side
_TITLE_LENGTH = 100  # characters that fit above a panel
_REGULAR = 400
_PLACEHOLDER = "Last Resort"  # fonts that have every letter, as a box
_UNCLEAR = "#999999"  # of moments that do not clearly match
_FONT = "DejaVu Sans"  # matplotlib's own, which is always there
# The first to be asked for letters that it lacks; those of a writing system look like one another in them.
_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "SimHei",
    "Malgun Gothic",
    "Noto Sans",
    "Noto Emoji",
    "Segoe UI Emoji",
    "Segoe UI Symbol",
    "Symbola",
)


def check_plot(path: Path) -> None:
    """Refuse a picture that cannot be written, before any work begins.

    Raises:
        UsageError: if the ending of the file says no format.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--plot {path}: its name must end in {' or '.join(SUFFIXES)}")


def write_plot(results: Sequence[GroundingResult], path: Path) -> None:
    """Draw the results for one video into a picture: a panel for each query, thumbnails of the video under them.

    In an SVG moments have ids, `moment-QUERY-RANK`, both counted from 1; `axes-QUERY` is the frame they stand in.

    Args:
        results: the answers to at least one query on one video.
        path: the picture, which appears whole or not at all; its ending says the format.

    Raises:
        UsageError: if the ending says none.
        VideoError: if no thumbnail can be read from the video.
        VtgError: if the picture cannot be written.
    """
    check_plot(path)
    from extractors.decoding.thumbnails import read_thumbnails
    from extractors.files.atomic import atomic_write

    instants_s = evenly_spaced(results[0].duration_s, THUMBNAILS)
    thumbnails = read_thumbnails(results[0].video, instants_s, height=150)
    kind = path.suffix.lower().removeprefix(".")
    fonts, missing = _fonts_for("".join([_head(results[0]), *map(_title, results)]))
    if missing and kind == "png":  # the viewer of an SVG chooses the font
        note(
            f"{path}: no installed font has {missing}, so boxes are drawn; install Noto Sans CJK or Noto Emoji"
        )
    with _drawing(fonts):
        figure = _draw(results, instants_s, thumbnails)
        try:
            with atomic_write(path) as file:
                # Without its date the same results give the same file.
                dpi = min(_DPI, _MOST_PIXELS / figure.get_figheight())
                figure.savefig(file, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
        except OSError as error:
            raise VtgError(f"{path}: cannot be written ({reason_of(error)})") from error


@contextmanager
def _drawing(fonts: Sequence[str]) -> Iterator[None]:
    """Matplotlib's own defaults, whatever the user has set, and nothing of it on standard error."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that no font has
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "font.family": list(fonts),
                "font.size": 9,
                "svg.fonttype": "none",
                "svg.hashsalt": "vtg",
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.edgecolor": "#666666",
            }
        )
        yield


def _fonts_for(text: str) -> tuple[list[str], str]:
    """Names of fonts that have the letters of a text between them, and the letters that none has."""
    logging.getLogger("matplotlib").setLevel(logging.CRITICAL)  # it reports the caches that it builds
    from matplotlib import font_manager

    # Characters that change others, or show nothing, need no glyph.
    missing = {letter for letter in text if unicodedata.category(letter) not in ("Zs", "Cf", "Mn", "Cc")}
    missing -= _letters(font_manager.findfont(_FONT))
    fonts = [_FONT]
    if not missing:
        return fonts, ""
    # Matplotlib remembers its list of fonts for ever, whatever is installed later.
    listed = {entry.fname for entry in font_manager.fontManager.ttflist}
    for file in font_manager.findSystemFonts():
        if file not in listed:
            with suppress(OSError, RuntimeError):  # not a font it can read
                font_manager.fontManager.addfont(file)
    files: dict[str, str] = {}
    for entry in font_manager.fontManager.ttflist:
        usable = entry.style == "normal" and not entry.name.startswith(_PLACEHOLDER)
        if usable and (entry.weight == _REGULAR or entry.name not in files):
            files[entry.name] = entry.fname
    known = [name for name in _FONTS if name in files]
    for name in [*known, *sorted(files.keys() - set(known))]:
        found = missing & _letters(files[name])
        if found:
            fonts.append(name)
            missing -= found
        if not missing:
            break
    return fonts, "".join(sorted(missing))


def _letters(file: str) -> set[str]:
    """What a font can draw; nothing if it holds pictures only, as most with coloured emoji do."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(file)
        if not font.scalable:
            return set()
        return set(map(chr, font.get_charmap()))
    except (OSError, RuntimeError):
        return set()


def _head(result: GroundingResult) -> str:
    """What stands above the picture."""
    name = Path(one_line(result.video)).name
    return f"{name} · {timecode(result.duration_s)} · {basis(result).removesuffix(' features')}"


def _title(result: GroundingResult) -> str:
    """What stands above a panel."""
    title = one_line(result.query)
    return title if len(title) <= _TITLE_LENGTH else title[: _TITLE_LENGTH - 1] + "…"


def _draw(
    results: Sequence[GroundingResult], instants_s: Sequence[float], thumbnails: Sequence[NDArray[np.uint8]]
) -> Any:
    from matplotlib.figure import Figure

    across_in = _WIDTH_IN - _LEFT_IN - _RIGHT_IN
    slot_in = across_in / len(thumbnails)
    aspect = thumbnails[0].shape[1] / thumbnails[0].shape[0]
    strip_in = min(0.94 * slot_in / aspect, _STRIP_IN)
    rows_of = [_rows(result) for result in results]
    gaps_in = [_GAP_IN + _ROW_IN * max(of_query, default=0) for of_query in rows_of]
    height_in = _HEAD_IN + sum(gaps_in) + len(results) * _PANEL_IN + _AXIS_IN + strip_in + _FOOT_IN

    # A separate object, not pyplot: nothing opens a window or stays in memory.
    figure = Figure(figsize=(_WIDTH_IN, height_in), facecolor="white")
    first = results[0]
    place = (_LEFT_IN / _WIDTH_IN, 1 - 0.3 / height_in)
    figure.text(*place, _head(first), color="#444444", parse_math=False, va="baseline")

    def axes(top_in: float, panel_in: float, **options: Any) -> Any:
        across, up = 1 / _WIDTH_IN, 1 / height_in  # of the figure, an inch
        bottom_in = height_in - top_in - panel_in
        return figure.add_axes(
            (_LEFT_IN * across, bottom_in * up, across_in * across, panel_in * up),
            xlim=(0, first.duration_s),
            **options,
        )

    top_in = _HEAD_IN
    for number, result in enumerate(results, start=1):
        top_in += gaps_in[number - 1]
        panel = axes(top_in, _PANEL_IN)
        top_in += _PANEL_IN
        _panel(panel, result, number, rows_of[number - 1], is_last=number == len(results))
    strip = axes(top_in + _AXIS_IN, strip_in, ylim=(0, 1))
    strip.set_axis_off()
    half_s = strip_in * aspect / across_in * first.duration_s / 2
    for instant_s, picture in zip(instants_s, thumbnails, strict=True):
        strip.imshow(picture, extent=(instant_s - half_s, instant_s + half_s, 0, 1), aspect="auto")
    strip.set(xlim=(0, first.duration_s), ylim=(0, 1))
    return figure


def _rows(result: GroundingResult) -> list[int]:
    """The row of each moment's mark; a mark is wide enough for a rank, and those without room share the last row."""
    least_s = result.duration_s / 50
    spans = [(moment.start_s, max(moment.end_s, moment.start_s + least_s)) for moment in result.moments]
    return [min(row, MOST_ROWS - 1) for row in rows(spans)]


def _panel(axes: Any, result: GroundingResult, number: int, rows_of: Sequence[int], *, is_last: bool) -> None:
    """One query: its curve, one step per clip, and its moments behind it with their ranks above."""
    colour = COLOURS[(number - 1) % len(COLOURS)]
    scores, length_s = result.saliency.scores, result.saliency.clip_length_s
    low, high = score_range(scores)
    margin = 0.02 * (high - low or 1)
    axes.set_ylim(low, high + margin)
    axes.patch.set_gid(f"axes-{number}")
    pad = 21 + 72 * _ROW_IN * max(rows_of, default=0)  # points
    axes.set_title(_title(result), loc="left", fontweight="bold", color="black", pad=pad, parse_math=False)
    if scores:
        edges_s = [k * length_s for k in range(len(scores) + 1)]
        axes.stairs(scores, edges_s, baseline=low, fill=True, color=colour, alpha=0.35, linewidth=0)
        axes.stairs(scores, edges_s, baseline=low, color=colour, linewidth=1.4)
    # Best last, so that it lies on top where moments overlap.
    for rank, moment in reversed(list(enumerate(result.moments, start=1))):
        shade = colour if result.is_clear(moment) else _UNCLEAR
        band = axes.axvspan(
            moment.start_s, moment.end_s, facecolor=shade, alpha=0.22 if rank == 1 else 0.12, linewidth=0
        )
        band.set_gid(f"moment-{number}-{rank}")
        top = 1.02 + rows_of[rank - 1] * _ROW_IN / _PANEL_IN
        axes.plot(
            [moment.start_s, moment.end_s], [top, top], transform=axes.get_xaxis_transform(), clip_on=False,
            color=shade, linewidth=3 if rank == 1 else 1.8, solid_capstyle="butt",
        )  # fmt: skip
        axes.text(
            (moment.start_s + moment.end_s) / 2, top + 0.03, str(rank), transform=axes.get_xaxis_transform(),
            ha="center", va="bottom", fontsize=9 if rank == 1 else 8, fontweight="bold" if rank == 1 else "normal",
        )  # fmt: skip
    ticks = time_ticks(result.duration_s, 10)
    axes.set_xticks([time_s for time_s, _ in ticks], [text if is_last else "" for _, text in ticks])
    axes.tick_params(colors="#444444", length=3)
