"""The tables of README and docs that list encoders, formats, datasets and the files of the network.

They are made from the entries: `python docs/tables.py` updates them between their marks, and a test keeps them equal.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_NETWORK = (
    "network/fusion",
    "network/highlight",
    "network/layering",
    "network/refinement",
    "network/alignment",
    "network/existence",
    "network/matching",
    "network/flashvtg",
    "network/averaged",
)
_FILES = (*_NETWORK, "network/layers", "losses/__init__", "decoding")


def feature_table() -> str:
    """Features: rows, clips and weights."""
    from extractors.encoders.registry import families, features
    from extractors.weights.store import artefact

    rows = []
    for feature in features():
        clip = (
            "a word"
            if feature.video_encoder is None
            else f"{_frames(feature.frames_per_clip)}, {feature.fps:g} per second"
        )
        weights = feature.network
        if feature.weights:
            item = artefact(feature.weights)
            weights += f" (`{item.name}`, {item.size_text}, {item.licence})"
        rows.append((f"`{feature.name}`", f"{feature.dim:,}: {feature.row}", clip, weights))
    rows += [
        (f"`{family.form}`", family.row, f"{_frames(1)}, 0.5 per second", family.network)
        for family in families()
    ]
    return _table(("name", "row", "one row per", "weights"), rows)


def answer_table() -> str:
    """Features: what to download, and what for."""
    from extractors.encoders.registry import families, features
    from extractors.weights.store import artefact

    rows = [
        (
            f"`{feature.name}`",
            f"`{feature.weights}`, {artefact(feature.weights).size_text}"
            if feature.weights
            else "none, part of the install",
            feature.good_for,
        )
        for feature in features()
    ]
    rows += [(f"`{family.form}`", family.download, family.good_for) for family in families()]
    return _table(("features", "download", "good for"), rows)


def format_table() -> str:
    """Formats of results."""
    from vtg_cli.writers.formats import formats

    rows = [
        (
            f"`{form.name}`",
            f"`{form.suffix}`" if form.suffix else "",
            form.summary,
            "one" if form.holds_one_video else "any number",
            "yes" if form.appendable else "",
        )
        for form in formats()
    ]
    return _table(("format", "ending", "contents", "videos", "with `--watch`"), rows)


def dataset_table() -> str:
    """Datasets and what their configurations read."""
    from model.config import load_config
    from model.dataset_entry import datasets

    rows = []
    for info in datasets():
        configs = [load_config(name).data for name in info.configs]
        streams = [
            " + ".join(f"`{spec.name}`" for spec in (*data.video_features, data.text_features))
            for data in configs
        ]
        rows.append(
            (
                f"`{info.name}`",
                ", ".join(f"`{alias}`" for alias in info.aliases),
                "; ".join(f"{item.split} {item.rows:,}" for item in info.annotations),
                "moments" + (" and saliency" if info.scores_saliency else "")
                if info.has_moments
                else "saliency",
                info.licence,
                "<br>".join(dict.fromkeys(streams)),
            )
        )
    return _table(
        ("name", "also", "annotations (rows)", "annotated", "licence", "features of its configurations"), rows
    )


def network_table() -> str:
    """Files of the network, in the words of their own first lines."""
    rows = []
    for name in _FILES:
        path = ROOT / "model" / f"{name}.py"
        line = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        shown = name.removesuffix("__init__") if name.endswith("__init__") else f"{name}.py"
        rows.append((f"`{shown}`", line))
    return _table(("file in `model/`", "contents"), rows)


TABLES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "README.md": {"answers": answer_table},
    "docs/features.md": {"features": feature_table},
    "docs/export.md": {"formats": format_table},
    "docs/datasets.md": {"datasets": dataset_table},
    "docs/models.md": {"network": network_table},
}


def with_tables(page: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """A page with its tables made from the entries.

    Raises:
        ValueError: if the marks of a table are not there once.
    """
    for name, make in tables.items():
        page, count = re.subn(
            rf"(<!-- table: {name}, made by docs/tables.py -->\n).*?(<!-- end of table -->)",
            lambda marks, make=make: f"{marks[1]}\n{make()}\n{marks[2]}",
            page,
            flags=re.DOTALL,
        )
        if count != 1:
            raise ValueError(f"{count} tables are marked as '{name}'")
    return page


def _frames(count: int) -> str:
    return "the frame before the middle of a clip" if count == 1 else f"{count} frames of a clip"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(head), *map(tuple, rows)]
    lines.insert(1, ("---",) * len(lines[0]))
    return "".join(
        f"| {' | '.join(cells)} |\n".replace("|  |", "| |").replace("|  |", "| |") for cells in lines
    )


if __name__ == "__main__":
    for file, tables in TABLES.items():
        path = ROOT / file
        path.write_text(with_tables(path.read_text(encoding="utf-8"), tables), encoding="utf-8")
