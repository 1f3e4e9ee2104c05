"""Tables of names, addresses and numbers, none of which is ever cut: one has to type them, or to copy them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from vtg_cli.console import out, printable

_GAP = "  "
_INDENT = 4  # of what stands under its row
_NARROWEST = 12  # columns in which a few words can still be read


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    right: Collection[int] = (),
    indent: int = 0,
) -> None:
    """Print rows to standard output: each on one line in a pipe, and in a terminal that is wide enough.

    In a narrower one, the last cell is wrapped between words, or stands under its row where a word of it is wider than
    its column; where the other cells do not fit either, they stand in no columns. A word that is wider than the
    terminal is left to it to wrap.

    Args:
        headings: of the columns, two at least; none is printed if all are empty.
        rows: as many cells each.
        right: numbers of the columns that are aligned to the right.
        indent: columns that are left free.
    """
    console = out()
    lines = [[_text(cell) for cell in row] for row in rows]
    if any(headings):
        lines.insert(0, [Text(heading, style="dim") for heading in headings])
    if lines:
        layout = _Layout(
            console,
            [max(cell_len(line[at].plain) for line in lines) for at in range(len(headings))],
            right,
            indent,
            console.width - indent if console.is_terminal else math.inf,
        )
        for line in lines:
            layout.print_row(line)


@dataclass(frozen=True)
class _Layout:
    """How the rows of one table are printed.

    Attributes:
        console: where to.
        widths: columns of the widest cell of each column.
        right: numbers of the columns that are aligned to the right.
        indent: columns that are left free.
        room: columns that there are beside those.
    """

    console: Console
    widths: Sequence[int]
    right: Collection[int]
    indent: int
    room: float

    def print_row(self, row: Sequence[Text]) -> None:
        """Print a row on one line, or on more if it has to be."""
        *head, last = row
        head_width = sum(self.widths[:-1]) + len(_GAP) * len(head)
        room = self.room - head_width
        in_columns = [self._padded(cell, at) for at, cell in enumerate(head)]
        if room >= self.widths[-1]:
            self._print([*in_columns, self._padded(last, len(head))])
        elif cell_len(last.plain) <= room:
            self._print([*in_columns, last])
        elif room >= max([_NARROWEST, *map(cell_len, last.plain.split())]):
            first, *others = _wrapped(last.plain, int(room))
            self._print([*in_columns, Text(first)])
            for line in others:
                self._print([Text(" " * head_width + line)])
        else:
            self._print(in_columns if room >= 0 else [cell for cell in head if cell.plain])
            for line in _wrapped(last.plain, int(self.room) - _INDENT):
                self._print([Text(" " * _INDENT + line)])

    def _padded(self, cell: Text, at: int) -> Text:
        padding = " " * (self.widths[at] - cell_len(cell.plain))
        return Text.assemble(padding, cell) if at in self.right else Text.assemble(cell, padding)

    def _print(self, cells: Sequence[Text]) -> None:
        line = Text.assemble(" " * self.indent, Text(_GAP).join(cells))
        line.rstrip()
        self.console.print(line, soft_wrap=True)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of whole words that are no wider, but for single words that are; `textwrap` counts letters, not columns."""
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(printable(cell))
