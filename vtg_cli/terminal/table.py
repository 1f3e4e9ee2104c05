"""Tables of names, addresses and numbers. Cells are never cut, because people type or copy them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from vtg_cli.terminal.console import out, printable

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
    its column. Where the other cells do not fit either, each row is its first cell and, under it, the other ones with
    their headings. A word that is wider than the terminal is left to it to wrap.

    Args:
        headings: of the columns, two at least; none is printed if all are empty.
        rows: as many cells each.
        right: numbers of the columns that are aligned to the right.
        indent: columns that are left free.
    """
    console = out()
    head = [Text(heading, style="dim") for heading in headings]
    lines = [[_text(cell) for cell in row] for row in rows]
    layout = _Layout(
        console,
        [max(cell_len(line[at].plain) for line in (head, *lines)) for at in range(len(headings))],
        right,
        indent,
        console.width - indent if console.is_terminal else math.inf,
    )
    if layout.room_of_last < 0:
        layout.print_list(head, lines)
        return
    for line in (head, *lines) if any(headings) else lines:
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

    @property
    def room_of_last(self) -> float:
        """Columns that there are for the last cell of a row, beside the others; less than 0 if these do not fit."""
        return self.room - sum(self.widths[:-1]) - len(_GAP) * (len(self.widths) - 1)

    def print_list(self, head: Sequence[Text], rows: Sequence[Sequence[Text]]) -> None:
        """Print the first cell of each row, and under it the others with their headings."""
        if head[0].plain:
            self._print([head[0]])
        for first, *others in rows:
            self._print([first])
            told = [
                f"{heading.plain}: {cell.plain}" if heading.plain else cell.plain
                for heading, cell in zip(head[1:], others, strict=True)
                if cell.plain
            ]
            self._print_below("; ".join(told))

    def print_row(self, row: Sequence[Text]) -> None:
        """Print a row on one line, or on more if it has to be."""
        *head, last = row
        room = self.room_of_last
        in_columns = [self._padded(cell, at) for at, cell in enumerate(head)]
        if room >= self.widths[-1]:
            self._print([*in_columns, self._padded(last, len(head))])
        elif cell_len(last.plain) <= room:
            self._print([*in_columns, last])
        elif room >= max([_NARROWEST, *map(cell_len, last.plain.split())]):
            first, *others = _wrapped(last.plain, int(room))
            self._print([*in_columns, Text(first)])
            for line in others:
                self._print([Text(" " * int(self.room - room) + line)])
        else:
            self._print(in_columns)
            self._print_below(last.plain)

    def _print_below(self, text: str) -> None:
        for line in _wrapped(text, int(self.room) - _INDENT):
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
