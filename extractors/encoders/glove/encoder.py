"""GloVe word vectors, the `glove` text features: one row per word of a query.

The vectors are published as a gigabyte of text. On first use they are converted into an array and a sorted list of
words under `VTG_HOME/glove`. Later starts map these into memory and read only the words they need.

Source: Pennington et al., GloVe: Global Vectors for Word Representation, EMNLP 2014. Like UMT and FlashVTG, this looks
up the words of Charades-STA in the 6B vectors of length 300: split at white space, in lower case, a zero row for
unknown words.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from extractors.encoders.base import EncoderOptions
from extractors.encoders.glove import FEATURE
from extractors.errors import CacheError, WeightsInvalid, reason_of
from extractors.features import FeatureSpec, TextFeatures
from extractors.files.atomic import atomic_write
from extractors.files.identity import file_identity
from extractors.files.user_folders import vtg_home

_MEMBER_SUFFIX = ".300d.txt"  # which of the files inside glove.6B.zip
_FORMAT = 1  # raised when the files below change in a way that older code would misread
_ROWS, _WORDS = "rows.npy", "words.npz"
_LONGEST_LINE = 1 << 20  # bytes; a file of another kind may have no line ends at all
_READ_AHEAD = 1 << 20
_ZIP_MAGIC, _GZIP_MAGIC = b"PK\x03\x04", b"\x1f\x8b"


class GloveTextEncoder:
    """Looks up the words of queries; a `TextEncoder`.

    Args:
        weights: word vectors as GloVe publishes them: one line per word, the word and its numbers with single spaces
            between. The file may be packed with gzip or zip; a zip archive may hold several if one is of length 300.
        options: not needed; words are looked up on the CPU.
    """

    def __init__(self, weights: Path, options: EncoderOptions | None = None) -> None:
        del options
        self._weights = weights

    @property
    def spec(self) -> FeatureSpec:
        """What its token rows are: vectors as published, not normalised; equal for equal vectors, packed or not.

        Raises:
            WeightsInvalid: on the first call, if the file is damaged or holds anything else.
            CacheError: on the first call, if `VTG_HOME` cannot be written.
        """
        dim = self._vectors.dim
        return FeatureSpec(
            name=FEATURE.name,
            dim=dim,
            clip_length_s=0.0,
            order=(f"glove:{dim}",),
            normalization="none",
            weights_id=f"glove:{self._vectors.identity}",
        )

    def encode(self, queries: Sequence[str]) -> list[TextFeatures]:
        """Encode queries.

        Args:
            queries: sentences; they are cut at white space only, so that `fridge.` is another word than `fridge`, as
                in the published use.

        Returns:
            One result per query, in order: `tokens` (T, dim), one row per word, zeros for an unknown one, and `pooled`
            (dim,), the mean over the words that are known, zeros if none is.

        Raises:
            WeightsInvalid, CacheError: as for `spec`.
        """
        return [self._encode_one([word.lower() for word in query.split()]) for query in queries]

    def _encode_one(self, words: Sequence[str]) -> TextFeatures:
        tokens = np.zeros((len(words), self._vectors.dim), np.float32)
        known = np.zeros(len(words), bool)
        for position, word in enumerate(words):
            row = self._vectors.find(word)
            if row is not None:
                tokens[position], known[position] = row, True
        pooled = tokens[known].mean(axis=0) if known.any() else np.zeros(self._vectors.dim, np.float32)
        return TextFeatures(tokens=tokens, pooled=pooled)

    @cached_property
    def _vectors(self) -> WordVectors:
        return open_word_vectors(self._weights)


@dataclass(frozen=True)
class WordVectors:
    """Word vectors on disk.

    Attributes:
        rows: (M, dim) float32, mapped into memory, in the order of the file they come from.
        words: all words in order of their bytes, in UTF-8, without anything between.
        starts: (N + 1,) where each word begins in `words`, and where the last one ends.
        row_of: (N,) the row of each word.
        identity: hash of all words and numbers, 32 hexadecimal digits.
    """

    rows: NDArray[np.float32]
    words: bytes
    starts: NDArray[np.int64]
    row_of: NDArray[np.int64]
    identity: str

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self.rows.shape[1])

    def find(self, word: str) -> NDArray[np.float32] | None:
        """The (dim,) row of a word; None if it has none."""
        wanted = word.encode(errors="surrogatepass")
        place = bisect_left(range(len(self.row_of)), wanted, key=self._word)
        if place == len(self.row_of) or self._word(place) != wanted:
            return None
        row: NDArray[np.float32] = np.array(self.rows[self.row_of[place]])
        return row

    def _word(self, place: int) -> bytes:
        return self.words[self.starts[place] : self.starts[place + 1]]


def open_word_vectors(path: Path) -> WordVectors:
    """Map a file of word vectors into memory, after bringing it into a form that can be mapped if it is new.

    That form lies under `VTG_HOME/glove` and is found by the content of the file. Of a word that has several lines the
    last one counts.

    Args:
        path: as for `GloveTextEncoder`.

    Raises:
        WeightsInvalid: if it is damaged, has lines of different lengths or holds anything but words and finite
            numbers; the message names the line.
        CacheError: if that folder cannot be written.
    """
    from filelock import FileLock

    folder = vtg_home() / "glove" / file_identity(path)
    vectors = _load(folder)
    if vectors is not None:
        return vectors
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):  # processes that want the same vectors wait for the one that began
            vectors = _load(folder)
            if vectors is None:
                _build(path, folder)
                vectors = _load(folder)
    except OSError as error:
        reason = reason_of(error)
        raise CacheError(
            f"{path}: cannot be stored in {folder} ({reason}); set VTG_HOME to a folder with free space"
        ) from error
    if vectors is None:
        raise CacheError(
            f"{folder}: the file just written there cannot be read; set VTG_HOME to another folder"
        )
    return vectors


def _load(folder: Path) -> WordVectors | None:
    """What `_build` left in a folder; None if it is not there, not whole, or of another version."""
    try:
        with np.load(folder / _WORDS, allow_pickle=False) as stored:
            index = {name: stored[name] for name in stored.files}
        rows = np.load(folder / _ROWS, mmap_mode="r", allow_pickle=False)
        sound = int(index["format"]) == _FORMAT and rows.shape == tuple(index["shape"])
        if not sound or rows.dtype != np.float32:
            return None
        return WordVectors(
            rows, index["words"].tobytes(), index["starts"], index["row_of"], str(index["identity"])
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _build(path: Path, folder: Path) -> None:
    """Write rows, then words: where the words are, all is there. One line is in memory at a time, and all words."""
    row_of: dict[bytes, int] = {}
    digest = hashlib.blake2b(digest_size=16)
    count = dim = start = 0
    with atomic_write(folder / _ROWS) as file:
        for count, (word, row) in enumerate(_read_lines(path), start=1):
            if count == 1:
                dim = len(row)
                _write_header(file, (0, dim))
                start = file.tell()
            row_of[word] = count - 1
            data = row.tobytes()
            digest.update(b"%d %b %b" % (len(word), word, data))
            file.write(data)
        if not count:
            raise WeightsInvalid(f"{path}: holds no word vectors")
        file.seek(0)
        _write_header(file, (count, dim))
        assert file.tell() == start, "the header of a growing array keeps its length"
    words = sorted(row_of)
    index: dict[str, Any] = {
        "format": np.array(_FORMAT),
        "shape": np.array([count, dim]),
        "words": np.frombuffer(b"".join(words), np.uint8),
        "starts": np.cumsum([0, *map(len, words)], dtype=np.int64),
        "row_of": np.array([row_of[word] for word in words], np.int64),
        "identity": np.array(digest.hexdigest()),
    }
    with atomic_write(folder / _WORDS) as file:
        np.savez(file, **index)


def _write_header(file: BinaryIO, shape: tuple[int, int]) -> None:
    """The header of an npy file, which NumPy pads so that a file may grow: its length is the same for any count."""
    header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _read_lines(path: Path) -> Iterator[tuple[bytes, NDArray[np.float32]]]:
    """(word, its (dim,) row) of each line.

    Lines end at line feeds and fields at spaces, nowhere else: what else Unicode counts as white space or as the end of
    a line may be part of a word.
    """
    dim = 0
    with _opened(path) as file:
        for number, line in enumerate(_lines(path, file), start=1):
            word, *numbers = line.rstrip(b" \r\n").split(b" ")
            if not word or not numbers:
                raise _malformed(path, number, "not a word with numbers behind it")
            dim = dim or len(numbers)
            if len(numbers) != dim:
                raise _malformed(path, number, f"{len(numbers)} numbers, while line 1 has {dim}")
            try:
                with np.errstate(over="ignore"):
                    row = np.array(numbers, np.float32)
            except ValueError:
                raise _malformed(path, number, "not a word with numbers behind it") from None
            if not np.isfinite(row).all():
                raise _malformed(path, number, "holds a number that is not finite")
            yield word, row


def _lines(path: Path, file: BinaryIO) -> Iterator[bytes]:
    number = 0
    try:
        while line := file.readline(_LONGEST_LINE):
            number += 1
            if len(line) == _LONGEST_LINE:
                raise _malformed(path, number, f"more than {_LONGEST_LINE} bytes long")
            yield line
    except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile) as error:
        raise WeightsInvalid(f"{path}: damaged after line {number} ({error}); download it again") from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The text of a file, packed or not, recognised by its content."""
    with path.open("rb") as file:
        head = file.read(len(_ZIP_MAGIC))
        file.seek(0)
        if head == _ZIP_MAGIC:
            try:
                with zipfile.ZipFile(file) as archive, archive.open(_member(path, archive)) as member:
                    yield io.BufferedReader(member, _READ_AHEAD)  # type: ignore[type-var]
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
                raise WeightsInvalid(f"{path}: a zip archive that cannot be unpacked ({error})") from error
        elif head.startswith(_GZIP_MAGIC):
            with gzip.open(file) as unpacked:
                yield io.BufferedReader(unpacked, _READ_AHEAD)
        else:
            yield file


def _member(path: Path, archive: zipfile.ZipFile) -> str:
    names = [name for name in archive.namelist() if name.endswith(".txt")]
    chosen = names if len(names) == 1 else [name for name in names if name.endswith(_MEMBER_SUFFIX)]
    if len(chosen) != 1:
        held = ", ".join(names) or "none"
        raise WeightsInvalid(f"{path}: which of its text files are the vectors? It holds {held}; unpack one")
    return chosen[0]


def _malformed(path: Path, number: int, what: str) -> WeightsInvalid:
    return WeightsInvalid(
        f"{path}: line {number}: {what}; give a file of word vectors as GloVe publishes them"
    )
