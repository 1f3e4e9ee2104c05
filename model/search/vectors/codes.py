"""Codes of vectors, for indexes in which comparing every row with a query takes too long.

A row has two codes, each a sixteenth of its bytes at 512 values. Short codes are compared with a query all together.
Fine codes hold what the short ones leave out, and order the candidates that these find. Last, the scores of the best
candidates are computed from the rows themselves.

Rows are centred and rotated to their principal axes. The 256 that matter most become the short code: faiss puts a row
into the list of its nearest centroid, and stores the rest with 4 bits for every two values (a product quantizer). What
is then left in these axes, and all of the other axes, become the fine code, with a byte for every eight values.

Queries are sentences, and rows are pictures. Sentences differ from each other along axes in which pictures hardly do,
which is why the fine codes have all axes. The lists that are nearest to a sentence are not always those of its best
pictures, so three quarters of all lists are compared, which takes a few nanoseconds per row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import faiss

_SHORTEST_DIM = 16
_MOST_AXES = 256  # of a short code
_VALUES_PER_CODE, _BITS = 2, 4
_VALUES_PER_FINE_CODE, _FINE_BITS = 8, 8
_MOST_LISTS, _SAMPLES_PER_LIST, _ROUNDS = 512, 64, 8
_SHARE_OF_LISTS = 0.75
_MOST_THREADS = 8

Rows = NDArray[np.float32]
Places = NDArray[np.int64]
Bytes = NDArray[np.uint8]


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


@dataclass(frozen=True)
class Coded:
    """The codes of some rows.

    Attributes:
        lists: (N,) uint16, the list of each.
        short: (N, S) uint8.
        fine: (N, F) uint8.
    """

    lists: NDArray[np.uint16]
    short: Bytes
    fine: Bytes

    def __len__(self) -> int:
        return len(self.lists)

    def at(self, places: NDArray[Any]) -> Coded:
        """Those of some rows, in their order."""
        return Coded(self.lists[places], self.short[places], self.fine[places])

    def to_bytes(self) -> Bytes:
        """All of them, one kind after the other; `Codec.coded` reads this."""
        return np.concatenate(
            [
                np.ascontiguousarray(part).view(np.uint8).ravel()
                for part in (self.lists, self.short, self.fine)
            ]
        )


def joined(parts: Sequence[Coded]) -> Coded:
    """The codes of several groups of rows, as those of one."""
    return Coded(
        np.concatenate([part.lists for part in parts]),
        np.concatenate([part.short for part in parts]),
        np.concatenate([part.fine for part in parts]),
    )


class Codec:
    """How rows become codes; trained once on a sample.

    Args:
        rotation: of rows and queries to the principal axes, those of the short code first.
        short: an inverted file without rows.
        fine: a product quantizer, without rows, of what the short code leaves; it reads the axes in another order.
    """

    def __init__(
        self, rotation: faiss.LinearTransform, short: faiss.IndexIVFPQFastScan, fine: faiss.IndexPreTransform
    ) -> None:
        import faiss

        self._rotation, self._short, self._fine = rotation, short, fine
        linear = faiss.downcast_VectorTransform(rotation)
        self._axes = faiss.vector_to_array(linear.A).reshape(linear.d_out, linear.d_in).T
        self._offset = faiss.vector_to_array(linear.b)

    @classmethod
    def train(cls, sample: NDArray[np.float16], count: int) -> Codec:
        """Train one.

        Args:
            sample: (S, dim) rows.
            count: how many rows there are.
        """
        rows = sample.astype(np.float32)
        axes = min(rows.shape[1] - rows.shape[1] % _VALUES_PER_CODE, _MOST_AXES)
        centre, principal, variances = _principal_axes(rows)
        order = np.arange(len(variances))
        order[:axes] = _balanced(variances[:axes], axes // _VALUES_PER_CODE)
        rotation = _linear(centre, principal[:, order])
        rotated = rotation.apply_py(rows)
        short = _trained_short(np.ascontiguousarray(rotated[:, :axes]), lists_for(count))
        *_, rest = _short_codes(short, rotated)
        return cls(rotation, short, _trained_fine(rest))

    @classmethod
    def from_bytes(cls, data: Bytes) -> Codec:
        """The codec that `to_bytes` wrote."""
        import faiss

        reader = faiss.VectorIOReader()
        faiss.copy_array_to_vector(data, reader.data)
        rotation = faiss.read_VectorTransform(reader)
        return cls(rotation, faiss.read_index(reader), faiss.read_index(reader))

    def to_bytes(self) -> Bytes:
        """All of it."""
        import faiss

        writer = faiss.VectorIOWriter()
        faiss.write_VectorTransform(self._rotation, writer)
        faiss.write_index(self._short, writer)
        faiss.write_index(self._fine, writer)
        return np.asarray(faiss.vector_to_array(writer.data), dtype=np.uint8)

    def encode(self, rows: NDArray[np.float16]) -> Coded:
        """The codes of rows (N, dim)."""
        # numpy does this five times as fast as faiss.
        rotated = rows.astype(np.float32) @ self._axes + self._offset
        lists, short, rest = _short_codes(self._short, rotated)
        return Coded(lists.astype("<u2"), short, self._fine.sa_encode(rest))

    def coded(self, data: Bytes, count: int) -> Coded:
        """The codes of a number of rows that `Coded.to_bytes` wrote; they are not copied."""
        lists, short, fine = np.split(data, count * np.cumsum([2, self._short.pq.code_size]))
        return Coded(lists.view("<u2"), short.reshape(count, -1), fine.reshape(count, -1))

    def lists(self) -> faiss.IndexIVFPQFastScan:
        """An empty inverted file for short codes."""
        import faiss

        return faiss.clone_index(self._short)

    def fine_list(self) -> faiss.IndexIVFPQ:
        """An empty index for fine codes, of one list; it takes queries that are `reordered`.

        An `IndexPQ` would decode each code to give all scores in their order, and takes ten times as long.
        """
        import faiss

        quantizer = faiss.downcast_index(self._fine.index).pq
        centre = faiss.IndexFlatIP(quantizer.d)
        centre.add(np.zeros((1, quantizer.d), dtype=np.float32))
        index = faiss.IndexIVFPQ(
            centre, quantizer.d, 1, quantizer.M, quantizer.nbits, faiss.METRIC_INNER_PRODUCT
        )
        index.by_residual = False
        index.pq, index.is_trained = quantizer, True
        return index

    def rotated(self, queries: Rows) -> Rows:
        """Queries (Q, dim) as short codes take them; not centred, which would favour rows by where they lie."""
        rotated: Rows = queries @ self._axes
        return rotated

    def reordered(self, rotated: Rows) -> Rows:
        """Rotated queries (Q, dim) as fine codes take them."""
        return np.asarray(self._fine.chain.at(0).apply_py(rotated))


class Codes:
    """The codes of all rows of an index, ready to be compared; rows have places, in the order of the parts.

    Args:
        codec: that made them.
        parts: the codes; short ones are copied, and fine ones are not.
        count: how many there are in all.
    """

    def __init__(self, codec: Codec, parts: Iterator[Coded], count: int) -> None:
        import faiss

        self._codec, self._count = codec, count
        self._fine: list[Bytes] = []
        self._starts: list[int] = []
        # For one query, faiss uses one thread. Here each thread has a share of the rows, which are dealt out in turn.
        self._shares = [codec.lists() for _ in range(min(faiss.omp_get_max_threads(), _MOST_THREADS))]
        for share in self._shares:
            # Rows went to the list of the nearest centroid; queries look in those of the largest inner products.
            faiss.downcast_index(share.quantizer).metric_type = faiss.METRIC_INNER_PRODUCT
        lists = np.empty(count, dtype=np.uint16)
        short = np.empty((count, self._shares[0].pq.code_size), dtype=np.uint8)
        start = 0
        for part in parts:
            here = slice(start, start + len(part))
            lists[here], short[here] = part.lists, part.short
            self._fine.append(part.fine)
            self._starts.append(start)
            start = here.stop
        places = np.argsort(lists, kind="stable")
        ends = np.cumsum(np.bincount(lists, minlength=self._shares[0].nlist))
        for number, mine in enumerate(np.split(places, ends[:-1])):
            for turn, share in enumerate(self._shares):
                _put(share, number, mine[turn :: len(self._shares)], short)

    def search(self, queries: Rows, rough_count: int, count: int, within: Places | None) -> Iterator[Places]:
        """The places of the likeliest rows for each query, rising; fewer than asked for where there are no more.

        Args:
            queries: (Q, dim).
            rough_count: how many are found by their short codes.
            count: how many of these are chosen by both of their codes.
            within: only these places, rising; all if None.
        """
        import faiss

        chosen = None
        if within is not None:
            bits = np.zeros(self._count, dtype=np.bool_)
            bits[within] = True
            chosen = faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))
        with ThreadPoolExecutor(len(self._shares)) as pool:
            for query in self._codec.rotated(queries):
                look = partial(self._look, query=query, count=rough_count // len(self._shares), chosen=chosen)
                scores, places = map(np.concatenate, zip(*pool.map(look, self._shares), strict=True))
                if len(places) > count:
                    places = places[np.argpartition(-scores, count)[:count]]
                yield np.sort(places)

    def _look(
        self, share: faiss.IndexIVFPQFastScan, query: Rows, count: int, chosen: faiss.IDSelector | None
    ) -> tuple[Rows, Places]:
        """Scores by both codes, and places, of the rows of a share that are the best by their short codes."""
        import faiss

        probes = max(1, round(share.nlist * _SHARE_OF_LISTS))
        params = faiss.SearchParametersIVF(nprobe=probes, sel=chosen)
        (scores,), (places,) = share.search(query[None, : share.d], count, params=params)
        order = np.argsort(places)[np.count_nonzero(places < 0) :]
        scores, places = scores[order], places[order]
        fine = self._codec.fine_list()
        ends = np.searchsorted(places, self._starts[1:])
        for codes, first, mine in zip(self._fine, self._starts, np.split(places, ends), strict=True):
            fine.add_sa_codes(codes.take(mine - first, axis=0))  # half the time of indexing
        _, added, at = fine.range_search(self._codec.reordered(query[None]), -np.inf)
        scores[at] += added
        return scores, places


def _put(index: faiss.IndexIVFPQFastScan, number: int, places: Places, short: Bytes) -> None:
    """Put rows at some places into an empty list, with their short codes packed as they are compared fast."""
    import faiss

    if len(places):
        plain = faiss.IndexPQ(index.d, index.pq.M, _BITS)
        plain.pq, plain.is_trained = index.pq, True
        plain.add_sa_codes(short[places])
        packed = faiss.IndexPQFastScan(plain, index.bbs)
        ids = np.ascontiguousarray(places)
        index.invlists.add_entries(number, len(ids), faiss.swig_ptr(ids), packed.codes.get())
        index.ntotal += len(ids)


def _trained_short(values: Rows, lists: int) -> faiss.IndexIVFPQFastScan:
    """A number of lists for the first axes of rows, (S, axes)."""
    import faiss

    dim = values.shape[1]
    nearest = faiss.IndexFlatL2(dim)
    index = faiss.IndexIVFPQFastScan(
        nearest, dim, lists, dim // _VALUES_PER_CODE, _BITS, faiss.METRIC_INNER_PRODUCT
    )
    index.by_residual = True
    index.cp.niter, index.cp.max_points_per_centroid = _ROUNDS, _SAMPLES_PER_LIST
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1  # no warnings
    index.train(values)
    return _owner_of_its_parts(index)


def _trained_fine(rest: Rows) -> faiss.IndexPreTransform:
    """A quantizer of what short codes leave of rows, (S, dim)."""
    import faiss

    groups = rest.shape[1] // _VALUES_PER_FINE_CODE
    order = _balanced(rest.var(axis=0)[: groups * _VALUES_PER_FINE_CODE], groups)
    reorder = faiss.RemapDimensionsTransform(rest.shape[1], len(order), False)
    faiss.copy_array_to_vector(order.astype(np.int32), reorder.map)
    bits = min(_FINE_BITS, int(math.log2(len(rest))))
    quantizer = faiss.IndexPQ(len(order), groups, bits, faiss.METRIC_INNER_PRODUCT)
    quantizer.pq.cp.niter = _ROUNDS
    quantizer.pq.cp.min_points_per_centroid = 1  # no warnings
    index = faiss.IndexPreTransform(reorder, quantizer)
    index.train(rest)
    return _owner_of_its_parts(index)


def _owner_of_its_parts(index: faiss.Index) -> faiss.Index:
    import faiss

    return faiss.deserialize_index(faiss.serialize_index(index))


def _short_codes(short: faiss.IndexIVFPQFastScan, rotated: Rows) -> tuple[NDArray[np.int64], Bytes, Rows]:
    """Lists and short codes of rotated rows, and what these leave of the rows."""
    import faiss

    values = np.ascontiguousarray(rotated[:, : short.d])
    nearest = faiss.downcast_index(short.quantizer)
    lists = nearest.search(values, 1)[1][:, 0]
    centroids = nearest.reconstruct_n(0, short.nlist)[lists]
    codes = short.pq.compute_codes(values - centroids)
    rest = rotated.copy()
    rest[:, : short.d] -= centroids + short.pq.decode(codes)
    return lists, codes, rest


def _principal_axes(rows: Rows) -> tuple[Rows, Rows, Rows]:
    """The mean (dim,) of rows, their principal axes as columns (dim, dim), and the variance along each, falling."""
    centre = rows.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov((rows - centre).T))
    return centre, axes[:, ::-1].astype(np.float32), variances[::-1].clip(0).astype(np.float32)


def _linear(centre: Rows, axes: Rows) -> faiss.LinearTransform:
    """What subtracts a centre (dim,) and takes the parts along axes, which are columns (dim, A)."""
    import faiss

    transform = faiss.LinearTransform(*axes.shape, True)
    faiss.copy_array_to_vector(np.ascontiguousarray(axes.T, dtype=np.float32).ravel(), transform.A)
    faiss.copy_array_to_vector(-(centre @ axes), transform.b)
    transform.is_trained = True
    return transform


def _balanced(variances: Rows, groups: int) -> NDArray[np.int64]:
    """An order of values in which successive groups of equal size have variances of about the same product."""
    size = len(variances) // groups
    members: list[list[int]] = [[] for _ in range(groups)]
    logs = np.zeros(groups)
    smallest = float(variances.max()) * 1e-9 + 1e-30
    for place in np.argsort(-variances, kind="stable"):
        group = int(np.argmin(logs))
        members[group].append(int(place))
        logs[group] += np.log(max(float(variances[place]), smallest) / smallest)
        if len(members[group]) == size:
            logs[group] = np.inf
    return np.concatenate(members).astype(np.int64)
