"""Feature files: every published form, and damaged or hostile files."""

from __future__ import annotations

import io
import os
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.datasets.features import TEXT_KEY, FeatureFileError, FeatureFolder, missing
from tests.shared_data import shared

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4) / 8
SUFFIXES = ("npz", "pt", "npy")


def save(path: Path, rows: Any, key: str = "features") -> Path:
    """Write an array, in the form that the suffix says."""
    if path.suffix == ".npz":
        np.savez(path, **{key: rows})
    elif path.suffix == ".pt":
        torch.save(rows if isinstance(rows, torch.Tensor) else torch.from_numpy(np.array(rows)), path)
    else:
        np.save(path, rows)
    return path


def load(folder: Path, stem: str = "v", dim: int = 4) -> NDArray[Any]:
    return FeatureFolder(folder, "clip", dim).load(stem)


class TestForms:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int32", "uint8"])
    def test_values_and_their_type_are_kept(self, tmp_path: Path, suffix: str, kind: str) -> None:
        rows = (8 * ROWS).astype(kind)
        save(tmp_path / f"v.{suffix}", rows)
        found = load(tmp_path)
        np.testing.assert_array_equal(found, rows)
        assert found.dtype == rows.dtype

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("shape", [(1, 3, 4), (3, 1, 4)])
    def test_a_batch_of_one_is_taken_as_rows(
        self, tmp_path: Path, suffix: str, shape: tuple[int, ...]
    ) -> None:
        save(tmp_path / f"v.{suffix}", ROWS.reshape(shape))
        np.testing.assert_array_equal(load(tmp_path), ROWS)

    def test_compressed_and_of_another_byte_order(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "v.npz", features=ROWS.astype(">f4"), other=np.zeros(3))
        np.testing.assert_array_equal(load(tmp_path), ROWS)

    def test_internvideo2_and_llama(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        video, tokens = rng.random((75, 768), np.float32), rng.random((13, 4096), np.float32)
        save(tmp_path / "VKKH07K1zbI_210.0_360.0.pt", video)
        save(tmp_path / "qid47.pt", torch.from_numpy(tokens).to(torch.bfloat16))
        np.testing.assert_array_equal(load(tmp_path, "VKKH07K1zbI_210.0_360.0", 768), video)
        found = FeatureFolder(tmp_path, "llama_text", 4096, key=TEXT_KEY).load("qid47")
        np.testing.assert_allclose(found, tokens, rtol=2**-8)
        assert found.dtype == np.float32

    def test_a_tensor_that_was_being_learnt(self, tmp_path: Path) -> None:
        save(tmp_path / "v.pt", torch.from_numpy(ROWS.copy()).requires_grad_())
        np.testing.assert_array_equal(load(tmp_path), ROWS)

    def test_tokens_lie_under_another_key(self, tmp_path: Path) -> None:
        save(tmp_path / "qid1.npz", ROWS, key="last_hidden_state")
        folder = FeatureFolder(tmp_path, "clip_text", 4, key=TEXT_KEY)
        np.testing.assert_array_equal(folder.load("qid1"), ROWS)
        with pytest.raises(FeatureFileError, match="no array 'features', but last_hidden_state"):
            load(tmp_path, "qid1")


class TestChoice:
    def test_npz_before_pt_before_npy_before_a_pair(self, tmp_path: Path) -> None:
        files = ["v.npz", "v.pt", "v.npy", "v_rgb.npy"]
        for number, name in enumerate(files):
            save(tmp_path / name, ROWS + number)
        for number, name in enumerate(files):
            found = FeatureFolder(tmp_path, "clip", 4).find("v")
            assert found == tmp_path / name
            np.testing.assert_array_equal(load(tmp_path), ROWS + number)
            (tmp_path / name).unlink()
        assert FeatureFolder(tmp_path, "clip", 4).find("v") is None

    def test_a_pair_is_read_side_by_side(self, tmp_path: Path) -> None:
        save(tmp_path / "v_rgb.npy", ROWS)
        save(tmp_path / "v_opt.npy", np.vstack([-ROWS, -ROWS]))  # longer: cut to the shorter
        np.testing.assert_array_equal(load(tmp_path, dim=8), np.hstack([ROWS, -ROWS]))

    def test_half_a_pair_is_not_enough(self, tmp_path: Path) -> None:
        save(tmp_path / "v_rgb.npy", ROWS)
        with pytest.raises(
            FeatureFileError, match=r"v_rgb\.npy: holds an array of shape \[3, 4\].* rows of 8"
        ):
            load(tmp_path, dim=8)

    def test_the_first_name_that_is_there(self, tmp_path: Path) -> None:
        folder = FeatureFolder(tmp_path, "clip", 4)
        save(tmp_path / "7.npy", ROWS)
        np.testing.assert_array_equal(folder.load("qid7", "7"), ROWS)
        save(tmp_path / "qid7.npy", -ROWS)
        np.testing.assert_array_equal(folder.load("qid7", "7"), -ROWS)

    def test_missing_files_are_listed_once(self, tmp_path: Path) -> None:
        for stream, stems in (("a", "pqr"), ("b", "pr")):
            (tmp_path / stream).mkdir()
            for stem in stems:
                save(tmp_path / stream / f"{stem}.npy", ROWS)
        folders = [FeatureFolder(tmp_path / stream, stream, 4) for stream in "ab"]
        assert missing(folders, ["z", "q", "p", "z", "r", "q"]) == ["z", "q"]
        with pytest.raises(FeatureFileError, match=r"b/z\.npz: there are no 'b' features"):
            folders[1].load("z")


class TestShapes:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("shape", [(3, 5), (0, 4), (4,), (), (2, 3, 4), (1, 1, 3, 4)])
    def test_what_is_not_rows_is_refused(self, tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
        save(tmp_path / f"v.{suffix}", np.ones(shape, np.float32))
        with pytest.raises(FeatureFileError, match=rf"v\.{suffix}: "):
            load(tmp_path)

    def test_the_message_has_both_numbers(self, tmp_path: Path) -> None:
        save(tmp_path / "v.npy", np.ones((3, 5)))
        with pytest.raises(FeatureFileError, match=r"shape \[3, 5\], while 'clip' features are rows of 4"):
            load(tmp_path)

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_numbers_that_are_not_finite(self, tmp_path: Path, suffix: str, value: float) -> None:
        rows = ROWS.astype(np.float16)
        rows[2, 3] = value
        save(tmp_path / f"v.{suffix}", rows)
        with pytest.raises(FeatureFileError, match=rf"v\.{suffix}: holds numbers that are not finite"):
            load(tmp_path)

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("kind", [bool, np.complex64])
    def test_values_that_are_no_numbers(self, tmp_path: Path, suffix: str, kind: type) -> None:
        save(tmp_path / f"v.{suffix}", np.ones((3, 4), kind))
        with pytest.raises(FeatureFileError, match="not numbers"):
            load(tmp_path)

    @pytest.mark.parametrize("suffix", ["npz", "npy"])
    def test_rows_stored_as_columns_are_not_misread(self, tmp_path: Path, suffix: str) -> None:
        save(tmp_path / f"v.{suffix}", np.asfortranarray(ROWS))
        with pytest.raises(FeatureFileError, match="column by column"):
            load(tmp_path)


class TestDamaged:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.6, 0.95])
    def test_files_that_break_off(self, tmp_path: Path, suffix: str, share: float) -> None:
        path = save(tmp_path / f"v.{suffix}", np.tile(ROWS, (10, 1)))
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(FeatureFileError, match=rf"v\.{suffix}: .*\w"):
            load(tmp_path)

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_another_file_under_the_name(self, tmp_path: Path, suffix: str) -> None:
        (tmp_path / f"v.{suffix}").write_text("<html>Quota exceeded</html>")
        with pytest.raises(FeatureFileError, match=rf"v\.{suffix}: "):
            load(tmp_path)

    @pytest.mark.parametrize("suffix", ["npz", "npy"])
    def test_a_row_fewer_than_the_header_says(self, tmp_path: Path, suffix: str) -> None:
        write_claim(tmp_path / f"v.{suffix}", (4, 4), ROWS.tobytes())
        with pytest.raises(FeatureFileError, match=rf"v\.{suffix}: "):
            load(tmp_path)

    @pytest.mark.parametrize(
        ("true", "false"), [(b"(900, 4)", b"(100, 4)"), (b"<f4", b"<f2"), (b"<f4", b"<i4")]
    )
    def test_replaced_array_in_an_archive(self, tmp_path: Path, true: bytes, false: bytes) -> None:
        path = save(tmp_path / "v.npz", np.tile(ROWS, (300, 1)))  # more than is read ahead
        content = path.read_bytes()
        assert content.count(true) == 1
        path.write_bytes(content.replace(true, false))
        with pytest.raises(FeatureFileError, match=r"v\.npz: "):
            load(tmp_path)

    @settings(max_examples=100)
    @given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
    def test_every_changed_byte_is_noticed(self, place: float, value: int) -> None:
        with tempfile.TemporaryDirectory() as name:
            path = save(Path(name) / "v.npz", ROWS)
            content = bytearray(path.read_bytes())
            content[int(place * len(content))] = value
            path.write_bytes(content)
            try:
                found = load(Path(name))
            except FeatureFileError:
                return
            np.testing.assert_array_equal(found, ROWS)  # not every byte means something


def header(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    """The start of a `.npy` file that claims an array."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def write_claim(path: Path, shape: tuple[int, ...], content: bytes = b"") -> int:
    """An array that claims a shape, whatever it holds; the size of the file."""
    if path.suffix == ".npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("features.npy", header(shape) + content)
    else:
        path.write_bytes(header(shape) + content)
    return path.stat().st_size


class TestHarm:
    @pytest.mark.parametrize("suffix", ["npz", "npy"])
    @pytest.mark.parametrize("shape", [(10**11, 4), (2**62, 2**62), (-1, 4), (-1, -4)], ids=str)
    def test_a_small_file_that_claims_terabytes(
        self, tmp_path: Path, suffix: str, shape: tuple[int, ...]
    ) -> None:
        assert write_claim(tmp_path / f"v.{suffix}", shape, ROWS.tobytes()) < 10_000
        with pytest.raises(FeatureFileError, match="claims an array of shape"):
            load(tmp_path)

    def test_table_claims_terabytes(self, tmp_path: Path) -> None:
        path, shape = tmp_path / "v.npz", (10**11, 4)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("features.npy", header(shape))
            archive.infolist()[0].file_size = 16 * 10**11 + len(header(shape))
        with zipfile.ZipFile(path) as archive:
            assert archive.getinfo("features.npy").file_size > 10**12
        assert path.stat().st_size < 10_000
        with pytest.raises(FeatureFileError, match="claims an array of shape"):
            load(tmp_path)

    @pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    def test_an_archive_that_unpacks_to_far_more(self, tmp_path: Path, compression: int) -> None:
        path = tmp_path / "v.npz"
        with zipfile.ZipFile(path, "w", compression) as archive, archive.open("features.npy", "w") as file:
            np.save(file, np.zeros((1 << 20, 32), np.float32))
        assert path.stat().st_size < 1 << 20
        tracemalloc.start()
        try:
            with pytest.raises(FeatureFileError, match=r"claims an array of shape|NumPy does not write"):
                FeatureFolder(tmp_path, "clip", 32).load("v")
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()

    def test_table_claims_a_little_too_much(self, tmp_path: Path) -> None:
        path = tmp_path / "v.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("features.npy", header((30, 4)) + ROWS.tobytes())
            archive.infolist()[0].file_size += 27 * 16
        with pytest.raises(FeatureFileError, match=r"v\.npz: "):
            load(tmp_path)

    def test_a_tensor_that_repeats_one_number(self, tmp_path: Path) -> None:
        torch.save(torch.zeros(1).expand(10**12, 4), tmp_path / "v.pt")
        assert (tmp_path / "v.pt").stat().st_size < 10_000
        with pytest.raises(FeatureFileError, match="claims an array of shape"):
            load(tmp_path)

    @pytest.mark.parametrize("write", ["npz", "npy", "pt", "dict"])
    def test_objects_are_not_brought_to_life(self, tmp_path: Path, write: str) -> None:
        trace = tmp_path / "trace"

        class Harm:
            def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
                return os.mkdir, (str(trace),)

        objects = np.array([[Harm()] * 4], dtype=object)
        if write == "npz":
            np.savez(tmp_path / "v.npz", features=objects)
        elif write == "npy":
            np.save(tmp_path / "v.npy", objects)
        else:
            torch.save(Harm() if write == "pt" else {"features": Harm()}, tmp_path / "v.pt")
        with pytest.raises(
            FeatureFileError, match=r"v\.\w+: holds (values of type object|something else)"
        ) as e:
            load(tmp_path)
        assert "weights_only" not in str(e.value)  # torch advises to execute what the file holds
        assert not trace.exists()

    def test_a_table_of_tensors_is_not_guessed_at(self, tmp_path: Path) -> None:
        torch.save({"features": torch.from_numpy(ROWS.copy())}, tmp_path / "v.pt")
        with pytest.raises(FeatureFileError, match="does not hold a tensor"):
            load(tmp_path)

    @pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_rows_that_are_kept_keep_no_file_open(self, tmp_path: Path, suffix: str) -> None:
        for number in range(20):
            save(tmp_path / f"{number}.{suffix}", ROWS)
        load(tmp_path, "0")  # what opens files once and for all has done so
        before = len(list(Path("/proc/self/fd").iterdir()))
        kept = [np.asarray(load(tmp_path, str(number))) for number in range(20)]
        assert len(list(Path("/proc/self/fd").iterdir())) < before + len(kept)


class TestPublishedFiles:
    def test_qvhighlights(self) -> None:
        vid = "NUsG9BgSes0_210.0_360.0"
        for name, key, dim, stem, rows in [
            ("clip", "features", 512, vid, 75),
            ("slowfast", "features", 2304, vid, 76),
            ("clip_text", TEXT_KEY, 512, "qid2579", 16),
        ]:
            folder = FeatureFolder(shared(f"data/qvhl_sample/{name}_features"), name, dim, key=key)
            found = folder.load(stem)
            assert found.shape == (rows, dim)
            assert found.dtype == np.float16

    def test_charades(self) -> None:
        path = shared("data/charades_clip/clip_features")
        folder = FeatureFolder(path, "clip", 512)
        for file in sorted(path.iterdir())[::20]:
            norms = np.linalg.norm(folder.load(file.stem).astype(np.float32), axis=1)
            np.testing.assert_allclose(norms, 1, atol=0.01)
