# SPDX-License-Identifier: GPL-2.0-or-later
"""Where each field lies in the bytes of a state: one block of memory, table after table, row after row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pagelab.lang.declare import Field, Table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: The state begins with a report of the first fault: its number, a value, a bound; the rest is reserved.
HEADER_BYTES = 64
FAULT, FAULT_VALUE, FAULT_BOUND = 0, 8, 16
CACHE_LINE = 64


@dataclass(frozen=True, slots=True)
class TableLayout:
    """Where a table lies: first byte, bytes a row, and for each field its first byte within the row and its width.

    For columns ``offset`` is that of the 8-byte address of the first field's array, after the last of which comes the
    number of rows; ``row_bytes`` is 0.
    """

    table: Table[Any]
    shape: tuple[int, ...]
    offset: int
    row_bytes: int
    fields: Mapping[str, tuple[int, int]]  # name -> (byte within the row, bytes)

    @property
    def count(self) -> int:
        """Where the number of rows of columns lies."""
        return self.offset + 8 * len(self.fields)

    @property
    def rows(self) -> int:
        """Number of rows, all dimensions multiplied; of columns, those that are wanted in CPython."""
        count = 1
        for size in self.shape:
            count *= size
        return count


class Layout:
    """The layout of a set of tables with the sizes that the constants give now.

    :param packed: nothing between fields, rows and tables, and no head: states of a checker are many.
    :param widths: bytes of a field (1, 2, 4 or 8) by table name and field name where a build wants another width than
        declared, as the checker does for its small states.
    """

    def __init__(
        self, tables: Iterable[Table[Any]], widths: Mapping[tuple[str, str], int] | None = None, *, packed: bool = False
    ) -> None:
        self.tables: dict[Table[Any], TableLayout] = {}
        self.packed = packed
        line = 1 if packed else CACHE_LINE
        offset = 0 if packed else HEADER_BYTES
        ordered = sorted(tables, key=lambda t: (not t.columns, t.name))
        for table in ordered:
            if table.columns:
                shape = table.current_shape()
                places = {name: (8 * i, f.bits // 8) for i, (name, f) in enumerate(table.fields.items())}
                self.tables[table] = TableLayout(table, shape, offset, 0, places)
                offset = self.tables[table].count + 8
        for table in ordered:
            if not table.columns:
                offset = -(-offset // line) * line
                laid = self._lay_out(table, offset, widths or {})
                self.tables[table] = laid
                offset += laid.rows * laid.row_bytes
        self.bytes = -(-offset // line) * line

    def _lay_out(self, table: Table[Any], offset: int, widths: Mapping[tuple[str, str], int]) -> TableLayout:
        def width(field: Field) -> int:
            return widths.get((table.name, field.name), field.bits // 8)

        places, byte = {}, 0
        for field in sorted(table.fields.values(), key=width, reverse=True):
            places[field.name] = (byte, width(field))
            byte += width(field)
        # Rows of 9 to 16 bytes take 16, so that none straddles a cache line.
        align = max((w for _, w in places.values()), default=1)
        align = 1 if self.packed else align
        row_bytes = 16 if 8 < byte <= 16 and not self.packed else -(-byte // align) * align
        return TableLayout(table, table.current_shape(), offset, row_bytes, places)

    def dtype(self, table: Table[Any]) -> np.dtype[Any]:
        """numpy's view of a row of a table."""
        import numpy as np

        laid = self.tables[table]
        names = list(laid.fields)
        return np.dtype(
            {
                "names": names,
                "formats": [f"i{laid.fields[name][1]}" for name in names],
                "offsets": [laid.fields[name][0] for name in names],
                "itemsize": laid.row_bytes,
            }
        )

    def view(self, table: Table[Any], state: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """The rows of a table in a state, shaped as declared; a view, not a copy."""
        laid = self.tables[table]
        flat = state[laid.offset : laid.offset + laid.rows * laid.row_bytes].view(self.dtype(table))
        return flat.reshape(laid.shape)
