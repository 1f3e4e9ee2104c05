"""Short codes of vectors, for indexes in which comparing every row with a query takes too long.

A row's code has a sixteenth of its bytes at 512 values. The codes find candidates, whose scores are then computed from
the rows themselves. Rows are centred, rotated to their principal axes and cut to the 256 that matter most. faiss then
puts each into the list of its nearest centroid, and stores the rest with 4 bits for every two values (a product
quantizer).

Queries are sentences, and rows are pictures. The lists that are nearest to a sentence are then not always those of
its best pictures, so three quarters of all lists are compared, which takes a few nanoseconds per row.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import faiss

LARGEST_DIM = 256
"""Values of a row that is coded, after its rotation."""

_SHORTEST_DIM = 16
_VALUES_PER_CODE, _BITS = 2, 4
_MOST_LISTS, _SAMPLES_PER_LIST, _ROUNDS = 512, 64, 8
_SHARE_OF_LISTS = 0.75

Rows = NDArray[np.float32]
Ids = NDArray[np.int64]


def can_be_coded(dim: int) -> bool:
    """Whether rows of a number of values have codes; shorter ones are compared quickly enough."""
    return dim >= _SHORTEST_DIM


def lists_for(count: int) -> int:
    """How many lists there are for a number of rows: about its root, up to a limit.

    As most lists are compared, more of them would save searches little time, and cost time when rows are added.
    """
    return min(1 << int(math.log2(max(count, 1)) / 2), _MOST_LISTS)


def samples_for(count: int) -> int:
    """How many rows are enough to train a codec for a number of rows."""
    return min(count, lists_for(count) * _SAMPLES_PER_LIST)


class Codec:
    """How rows become codes; trained once on a sample.

    Args:
        index: a rotation and an inverted file of faiss, without rows.
    """

    def __init__(self, index: faiss.IndexPreTransform) -> None:
        import faiss

        self._index = index
        self._rotation = faiss.downcast_VectorTransform(index.chain.at(0))
        self._offset = self._rotation.apply_py(np.zeros((1, index.d), dtype=np.float32))

    @classmethod
    def train(cls, sample: NDArray[np.float16], count: int) -> Codec:
        """Train one.

        Args:
            sample: (S, dim) rows.
            count: how many rows there are.
        """
        import faiss

        rows = sample.astype(np.float32)
        dim = rows.shape[1]
        short = min(dim - dim % _VALUES_PER_CODE, LARGEST_DIM)
        codes = short // _VALUES_PER_CODE
        rotation = faiss.PCAMatrix(dim, short)
        rotation.balanced_bins = codes
        rotation.train(rows)
        nearest = faiss.IndexFlatL2(short)
        lists = faiss.IndexIVFPQFastScan(
            nearest, short, lists_for(count), codes, _BITS, faiss.METRIC_INNER_PRODUCT
        )
        lists.by_residual = True
        lists.cp.niter, lists.cp.max_points_per_centroid = _ROUNDS, _SAMPLES_PER_LIST
        lists.cp.min_points_per_centroid = lists.pq.cp.min_points_per_centroid = 1  # no warnings
        lists.train(rotation.apply_py(rows))
        return cls.from_bytes(np.asarray(faiss.serialize_index(faiss.IndexPreTransform(rotation, lists))))

    @classmethod
    def from_bytes(cls, data: NDArray[np.uint8]) -> Codec:
        """The codec that `to_bytes` wrote."""
        import faiss

        return cls(faiss.deserialize_index(data))

    def to_bytes(self) -> NDArray[np.uint8]:
        """All of it."""
        import faiss

        return np.asarray(faiss.serialize_index(self._index), dtype=np.uint8)

    def codes(self) -> Codes:
        """An empty collection of codes."""
        import faiss

        return Codes(self, faiss.clone_index(faiss.downcast_index(self._index.index)))

    def rotated(self, rows: NDArray[np.floating[Any]]) -> Rows:
        """(N, short) of rows (N, dim)."""
        return np.asarray(self._rotation.apply_py(np.ascontiguousarray(rows, dtype=np.float32)))

    def rotated_queries(self, queries: Rows) -> Rows:
        """(Q, short) of queries (Q, dim); not centred, which would favour rows by where they lie from the centre."""
        rotated: Rows = self.rotated(queries) - self._offset
        return rotated


class Codes:
    """The codes of rows by id; some are added first, and then they are searched.

    Args:
        codec: that made them.
        lists: an inverted file of faiss.
    """

    def __init__(self, codec: Codec, lists: faiss.IndexIVFPQFastScan) -> None:
        self._codec, self._lists = codec, lists

    def add(self, ids: Ids, rows: NDArray[np.float16]) -> None:
        """Add the codes of rows (N, dim) with ids (N,)."""
        self._lists.add_with_ids(self._codec.rotated(rows), ids)

    def add_bytes(self, data: NDArray[np.uint8], removed: Ids | None = None) -> None:
        """Add what `to_bytes` wrote, without the ids that are removed."""
        import faiss

        added = self._codec.codes()
        other = added._lists
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(data), data.nbytes)
        lists = faiss.read_InvertedLists(reader)
        other.replace_invlists(lists, True)
        other.init_code_packer()
        other.ntotal = lists.compute_ntotal()
        if removed is not None and len(removed):
            other.remove_ids(removed)
        _avoid_full_blocks(self._lists)
        self._lists.merge_from(other, 0)

    def end_adding(self) -> None:
        """Prepare for `search`."""
        import faiss

        # Rows went to the list of the nearest centroid; queries look in those of the largest inner products.
        faiss.downcast_index(self._lists.quantizer).metric_type = faiss.METRIC_INNER_PRODUCT

    def to_bytes(self) -> NDArray[np.uint8]:
        """The codes without their codec."""
        import faiss

        writer = faiss.VectorIOWriter()
        faiss.write_InvertedLists(self._lists.invlists, writer)
        return np.asarray(faiss.vector_to_array(writer.data), dtype=np.uint8)

    def search(self, queries: Rows, count: int, within: Ids | None) -> Ids:
        """The ids of the likeliest rows for each query.

        Args:
            queries: (Q, dim).
            count: how many for each.
            within: only these ids, rising and not negative; all if None.

        Returns:
            (Q, count) ids in no order that matters; -1 where there are fewer.
        """
        import faiss

        chosen = None if within is None else _selector(within)
        probes = max(1, round(self._lists.nlist * _SHARE_OF_LISTS))
        _, ids = self._lists.search(
            self._codec.rotated_queries(queries),
            count,
            params=faiss.SearchParametersIVF(nprobe=probes, sel=chosen),
        )
        return np.asarray(ids)


def _avoid_full_blocks(index: faiss.IndexIVFPQFastScan) -> None:
    """Make it safe to merge other lists into these.

    faiss 1.15 writes past the end of a list if its length before the merge is a multiple of the bytes of a block. Such
    a list gets an entry of no row.
    """
    import faiss

    lists = faiss.downcast_InvertedLists(index.invlists)
    for place in range(lists.nlist):
        length = lists.list_size(place)
        if length and length % lists.block_size == 0:
            lists.resize(place, length + 1)
            faiss.rev_swig_ptr(lists.get_ids(place), length + 1)[length] = -1
            index.ntotal += 1


def _selector(ids: Ids) -> faiss.IDSelector:
    import faiss

    if ids[-1] > 64 * len(ids):
        return faiss.IDSelectorBatch(ids)
    bits = np.zeros(ids[-1] + 1, dtype=np.bool_)
    bits[ids] = True
    return faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))
