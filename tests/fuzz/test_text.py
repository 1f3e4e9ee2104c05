"""Malformed JSON, TOML and tables of words: an answer or one clear error."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save

from extractors.cache.store import FeatureCache
from extractors.encoders.glove.encoder import open_word_vectors
from extractors.errors import VtgError
from extractors.weights.state_dicts import is_safetensors, named_tensors, read_safetensors
from extractors.weights.tensor_archive import find_tensors
from model.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from model.checkpoints.released import config_from_options
from model.checkpoints.released_file import read_options
from model.checkpoints.store import features_of
from model.config import load_config
from model.datasets.annotations import AnnotationError, read_annotations
from model.datasets.features import FeatureFolder
from model.metrics.files import read_rows
from model.metrics.report import evaluate
from model.training.run import Progress, ResumeState, Run
from tests.fuzz.cases import SEEDS, VALUES, fuzz
from tests.hostile import mutate
from tests.model.checkpoints.test_released import RELEASES, released_options, released_shapes
from tests.model.grounding.test_trained import small_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text")


# --- nested ---------------------------------------------------------------------------------------

DEEP = 100_000
NESTED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "annotations.jsonl": ("[" * DEEP, lambda path: read_annotations(path, "custom")),
    "rows.jsonl": ("[" * DEEP, read_rows),
    "opt.json": ('{"a":' * DEEP, read_options),
    "config.toml": ("a = " + "[" * DEEP, load_config),
    "tables.toml": ("[" + "a." * 3000 + "a]", load_config),
    "inputs.json": ("[" * DEEP, lambda path: Run(path.parent).inputs()),
    "log.jsonl": ("[" * DEEP, lambda path: Run(path.parent).log()),
}


@pytest.mark.parametrize("name", sorted(NESTED))
def test_what_is_nested_without_end(tmp_path: Path, name: str) -> None:
    content, read = NESTED[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(VtgError, match=name.replace(".", r"\.")):
        read(tmp_path / name)


def test_endlessly_nested_override() -> None:
    with pytest.raises(VtgError, match=r"training\.epochs"):
        load_config("custom-lite", ["training.epochs=" + "[" * DEEP])


def test_endlessly_nested_recipe(tmp_path: Path) -> None:
    entry = tmp_path / "lite-0123456789abcdef" / "lite_features" / "a.npz"
    entry.parent.mkdir(parents=True)
    entry.touch()
    (entry.parents[1] / "spec.json").write_text("[" * DEEP)
    (usage,) = FeatureCache(tmp_path).info().specs
    assert usage.spec is None
    assert usage.outdated == 1


# --- checkpoints and weights ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Description and tensors of a sound checkpoint."""
    from safetensors import safe_open

    path = folder / "whole.safetensors"
    save_checkpoint(small_checkpoint(), path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["vtg"]), tensors


FIELDS = (
    "hidden_dim", "heads", "dummies", "dummy_layers", "cross_attention_layers", "encoder_layers", "input_layers",
    "score_layers", "score_convolutions", "score_kernel", "feedforward_dim", "video_dim", "text_dim", "strides",
)  # fmt: skip
numbers = st.sampled_from(
    [0, 1, 2, 7, 2**31, 2**62, 10**9, 10**30, -1, [1, 2, 4], [1, 2**40], 1.5, "8", None]
)


@fuzz
@given(
    model=st.dictionaries(st.sampled_from(FIELDS), numbers, max_size=4),
    others=st.dictionaries(
        st.sampled_from(["format", "config", "video_features", "text_features", "provenance", "metrics"]),
        VALUES,
        max_size=1,
    ),
)
@example(model={"encoder_layers": 10**9}, others={})
@example(model={"hidden_dim": 2**31, "heads": 1}, others={})
@example(model={"strides": [2**i for i in range(60)]}, others={})
def test_descriptions_of_checkpoints(
    folder: Path,
    whole: tuple[dict[str, Any], dict[str, torch.Tensor]],
    model: dict[str, object],
    others: dict[str, object],
) -> None:
    description, tensors = whole
    config = {**description["config"], "model": {**description["config"]["model"], **model}}
    header = {**description, "config": config, **others}
    path = folder / "model.safetensors"
    path.write_bytes(save(tensors, metadata={"vtg": json.dumps(header)}))
    features_of(path)
    try:
        load_checkpoint(path).build_model()
    except VtgError as error:
        assert str(path) in str(error)


parts = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "I64", "U8", "F8_E4M3", "C64", "X", 3]),
        "shape": st.lists(st.sampled_from([0, 1, 2, 3, 6, 2**31, 2**62, -1, 1.5]), max_size=3),
        "data_offsets": st.lists(st.sampled_from([0, 8, 16, 24, 2**40, 2**63, -8]), max_size=3),
    }
)


@fuzz
@given(
    header=st.dictionaries(st.sampled_from(["a", "b", "__metadata__", ""]), parts | VALUES, max_size=3),
    length=st.none() | st.sampled_from([0, 1, 100, 2**31, 2**63, 2**64 - 1]),
    seed=st.none() | SEEDS,
)
def test_heads_of_safetensors(
    folder: Path, header: dict[str, object], length: int | None, seed: int | None
) -> None:
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text) if length is None else length) + text + bytes(24)
    path = folder / "weights.safetensors"
    path.write_bytes(content if seed is None else mutate(content, random.Random(seed), head=len(content)))
    is_safetensors(path)
    assert isinstance(features_of(path), tuple)
    for read in (
        load_checkpoint,
        lambda path: named_tensors(path, read_safetensors(path, lambda name: True), nested_in=()),
    ):
        try:
            read(path)
        except VtgError as error:
            assert str(path) in str(error)
    with suppress(ValueError):
        for tensor in find_tensors(path).values():
            tensor.read(path).tobytes()


OPTIONS = (
    "dset_name", "clip_length", "v_feat_dirs", "max_v_l", "max_q_l", "train_path", "eval_path", "dset_domain", "nheads",
    "dropout", "input_dropout", "lw_cls", "nms_thd", "nms_type", "max_num_moment", "n_epoch", "bsz", "lr", "seed",
)  # fmt: skip


@fuzz
@given(
    name=st.sampled_from(sorted(RELEASES)),
    changes=st.dictionaries(st.sampled_from(OPTIONS), VALUES, max_size=3),
    seed=st.none() | SEEDS,
)
@example(name="tacos-slowfast-clip", changes={"clip_length": "two"}, seed=None)
@example(name="tacos-slowfast-clip", changes={"v_feat_dirs": 3}, seed=None)
@example(name="tacos-slowfast-clip", changes={"train_path": 3}, seed=None)
@example(name="tacos-slowfast-clip", changes={"max_v_l": float("inf")}, seed=None)
def test_options_of_releases(folder: Path, name: str, changes: dict[str, object], seed: int | None) -> None:
    content = json.dumps(released_options(name) | changes).encode()
    path = folder / "opt.json"
    path.write_bytes(content if seed is None else mutate(content, random.Random(seed), head=len(content)))
    with suppress(VtgError):
        config_from_options(read_options(path), released_shapes(name))


# --- data -----------------------------------------------------------------------------------------

ANSWER = {
    "qid": 1, "query": "a cat", "vid": "v", "duration": 150, "relevant_windows": [[0, 10]], "relevant_clip_ids": [0, 1],
    "saliency_scores": [[1, 2, 3], [4, 4, 4]], "pred_relevant_windows": [[0.0, 9.0, 0.9], [4.0, 20.0, 0.1]],
    "pred_saliency_scores": [0.1] * 75,
}  # fmt: skip


@fuzz
@given(
    changes=st.dictionaries(st.sampled_from(sorted(ANSWER)), VALUES, max_size=3),
    others=st.dictionaries(st.sampled_from(sorted(ANSWER)), VALUES, max_size=2),
    seed=st.none() | SEEDS,
)
@example(changes={"qid": [1]}, others={}, seed=None)
@example(changes={"qid": {}}, others={"qid": {}}, seed=None)
@example(changes={"relevant_windows": [[0, 10**400]]}, others={}, seed=None)
@example(changes={"pred_saliency_scores": []}, others={}, seed=None)
@example(changes={}, others={"relevant_clip_ids": [10**30]}, seed=None)
@example(changes={}, others={"duration": 1e12}, seed=None)
@example(changes={}, others={"duration": 10**400}, seed=None)
@example(changes={}, others={"duration": float("nan")}, seed=None)
def test_predictions(
    folder: Path, changes: dict[str, object], others: dict[str, object], seed: int | None
) -> None:
    files = folder / "predictions.jsonl", folder / "annotations.jsonl"
    for path, row in zip(files, (ANSWER | changes, ANSWER | others), strict=True):
        line = json.dumps(row).encode()
        path.write_bytes(line if seed is None else mutate(line, random.Random(seed), head=len(line)))
    with suppress(VtgError):
        evaluate(read_rows(files[0]), read_rows(files[1]))


names = st.text(
    st.sampled_from([*"./\\~$%:*?\0\n\r é\u202e\ud800", "a", "b"]) | st.characters(),
    min_size=0,
    max_size=8,
)


@fuzz
@given(vid=names, qid=names | st.integers())
@example(vid="../outside", qid=1)
@example(vid="..", qid=1)
@example(vid="a/../../outside", qid=1)
@example(vid="\ud800", qid=1)
@example(vid="a", qid="../outside")
def test_names_of_features(folder: Path, vid: str, qid: int | str) -> None:
    """Whatever a line calls a video or a query, no file outside of the folder of features is read for it."""
    (folder / "outside.npz").touch()
    inside = folder / "features"
    inside.mkdir(exist_ok=True)
    path = folder / "names.jsonl"
    row = {"vid": vid, "qid": qid, "query": "a cat", "relevant_windows": [[0, 1]], "duration": 5}
    path.write_text(json.dumps(row))
    try:
        (annotation,) = read_annotations(path, "custom")
    except AnnotationError as error:
        assert str(path) in str(error)
        return
    for stem in (annotation.vid, f"qid{annotation.qid}", str(annotation.qid)):
        assert FeatureFolder(inside, "made", 8).find(stem) is None
        assert (inside / f"{stem}.npz").resolve().parent == inside.resolve()


@pytest.fixture
def glove_home(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VTG_HOME", str(folder / "home"))
        yield


WORDS = b"".join(
    f"{word} {' '.join(str(number / 7) for number in range(5))}\n".encode() for word in ["a", "the", "cat"]
)


@fuzz
@given(seed=SEEDS)
def test_word_vectors(folder: Path, glove_home: None, seed: int) -> None:
    import shutil

    path = folder / "glove.txt"
    path.write_bytes(mutate(WORDS, random.Random(seed), head=len(WORDS)))
    try:
        vectors = open_word_vectors(path)
    except VtgError as error:
        assert str(path) in str(error)
    else:
        found = vectors.find("cat")
        assert found is None or (len(found) == vectors.dim and np.isfinite(found).all())
    finally:
        shutil.rmtree(folder / "home" / "glove", ignore_errors=True)


@pytest.fixture(scope="module")
def run_files(folder: Path) -> dict[str, bytes]:
    """The files of a training run, by name."""
    checkpoint = small_checkpoint()
    run = Run(folder / "whole-run")
    run.create(checkpoint.config, {"data": "here"})
    progress = Progress(epoch=1, step=3)
    run.write_last(checkpoint, ResumeState(progress, {"a": torch.ones(3)}, {"exp_avg": {"a": torch.ones(3)}}))
    run.write_log([{"epoch": 1, "loss": 0.5}])
    return {
        name: (run.folder / name).read_bytes()
        for name in ("config.toml", "inputs.json", "resume.safetensors", "log.jsonl")
    }


@fuzz
@given(name=st.sampled_from(["config.toml", "inputs.json", "resume.safetensors", "log.jsonl"]), seed=SEEDS)
def test_runs(folder: Path, run_files: dict[str, bytes], name: str, seed: int) -> None:
    run = Run(folder / "run")
    run.folder.mkdir(exist_ok=True)
    content = run_files[name]
    (run.folder / name).write_bytes(mutate(content, random.Random(seed), head=min(len(content), 4096)))
    try:
        for read in (run.config, run.inputs, run.read_state, run.log):
            with suppress(VtgError):
                read()
    finally:
        (run.folder / name).unlink()
