from __future__ import annotations

import argparse
import gzip
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from extractors.errors import FeatureMismatch, WeightsInvalid, WeightsMissing
from model.checkpoints.checkpoint import (
    Checkpoint,
    feature_specs,
    import_released,
    load_checkpoint,
    save_checkpoint,
)
from model.checkpoints.released import our_name
from model.checkpoints.released_file import read_released
from model.config import load_config
from model.decoding import decode_moments
from model.network.flashvtg import FlashVTG
from model.rows import append_tef
from tests.shared_data import shared


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("released") / "model_best.ckpt"
    with gzip.open(shared("oracles/checkpoint/model_best.ckpt.gz")) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)
    return path


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    config = load_config("qvhighlights-slowfast-clip")
    small = replace(config.model, cross_attention_layers=1, encoder_layers=1, feedforward_dim=64)
    config = replace(config, model=small)
    video, text = feature_specs(config)
    return Checkpoint(
        config, video, text, FlashVTG(small).state_dict(), {"made_by": "a test"}, {"MR-full-mAP": 49.85}
    )


@pytest.mark.parametrize("with_options", [True, False])
def test_released_checkpoint_gives_its_answers(released: Path, with_options: bool) -> None:
    options = shared("oracles/checkpoint/opt.json") if with_options else None
    checkpoint = import_released(released, options)
    assert [(spec.name, spec.dim) for spec in checkpoint.video_features] == [
        ("slowfast", 2304),
        ("clip", 512),
    ]
    assert checkpoint.config.training.learning_rate == 5e-4
    assert checkpoint.config.decoding.nms_threshold == 0.7
    expected = torch.load(shared("oracles/checkpoint/expected.pt"), weights_only=True)
    video = torch.cat([expected["slowfast"], expected["clip"]], dim=1)[None]
    mask = torch.ones(1, 75)
    with torch.no_grad():
        output = checkpoint.build_model()(
            append_tef(video, mask), mask, expected["text"][None], torch.ones(1, 16)
        )
    boundary = decode_moments(
        output.offsets,
        output.logits.sigmoid(),
        output.points,
        output.point_mask,
        clip_length_s=checkpoint.config.data.clip_length_s,
        top_k=50,
    )
    for ours, theirs in ((output.saliency[0], expected["saliency"]), (boundary[0], expected["boundary"])):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_import_needs_no_nncore(released: Path) -> None:
    """Nor does the file bring anything in that it names."""
    code = (
        "import sys; from model.checkpoints.checkpoint import import_released; "
        f"import_released({str(released)!r}); assert 'nncore' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_every_released_parameter_has_its_place(released: Path) -> None:
    names = [our_name(name) for name in read_released(released).weights]
    assert names.count(None) == 3  # the text positions, which no released model reads
    ours = [name for name in names if name is not None]
    config = load_config("qvhighlights-slowfast-clip")
    assert sorted(ours) == sorted(FlashVTG(config.model).state_dict())


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (f"__import__('pathlib').Path({str(self.target)!r}).touch()",)


@pytest.mark.parametrize("place", ["model", "opt", "optimizer", "weight"])
def test_code_in_a_checkpoint_is_refused(tmp_path: Path, place: str) -> None:
    mark = tmp_path / "it ran"
    content: dict[str, object] = {"model": OrderedDict(x=torch.zeros(())), "opt": argparse.Namespace(a=1)}
    content[place] = {"inner": Bomb(mark)}
    if place == "weight":
        content["model"] = OrderedDict(x=Bomb(mark))
    path = tmp_path / "model_best.ckpt"
    torch.save(content, path)
    with pytest.raises(WeightsInvalid, match=r"refused: the file asks for (builtins|__builtin__)\.eval"):
        read_released(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # so the file was dangerous


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.getattr",
        "builtins.dict",
        "torch.load",
        "torch._utils._rebuild_tensor",
        "argparse.Namespace.x",
    ],
)
def test_names_off_the_list_are_refused(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.rpartition(".")
    path = tmp_path / "model_best.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", f"c{module}\n{attribute}\n.".encode())
    with pytest.raises(WeightsInvalid, match="refused"):
        read_released(path)


def test_placeholders_hold_values_and_do_nothing(released: Path) -> None:
    options = read_released(released).options
    assert options["dset_name"] == "hl"
    assert all(type(value) in (bool, int, float, str, list, tuple, type(None)) for value in options.values())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_release_is_refused(released: Path, tmp_path: Path, share: float) -> None:
    content = released.read_bytes()
    path = tmp_path / "model_best.ckpt"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsInvalid, match=r"model_best\.ckpt: truncated"):
        import_released(path)


def test_damaged_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model_best.ckpt"
    with pytest.raises(WeightsInvalid, match="no such file"):
        import_released(path)
    for content in (pickle.dumps([1, 2]), b"\x80\x04garbage"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
        with pytest.raises(WeightsInvalid, match=r"holds no released checkpoint|damaged"):
            import_released(path)
    weight = torch.arange(6.0)
    torch.save({"model": OrderedDict(x=weight)}, path)
    rewritten = tmp_path / "short.ckpt"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(rewritten, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content[:8] if "/data/" in name else content)
    with pytest.raises(WeightsInvalid, match="fewer values than its shape needs"):
        read_released(rewritten)


def test_views_and_types_of_tensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model_best.ckpt"
    base = torch.arange(12.0).view(3, 4)
    weights = OrderedDict(
        t=base.t(),
        row=base[1],
        parameter=torch.nn.Parameter(base),
        half=base.half(),
        brain=base.bfloat16(),
        long=base.long(),
        scalar=torch.tensor(0.5),
        empty=torch.empty(0, 4),
    )
    torch.save({"model": weights}, path)
    found = read_released(path).weights
    assert list(found) == list(weights)
    for name, value in weights.items():
        torch.testing.assert_close(found[name], value.detach())


def test_unusable_release_is_refused(released: Path, tmp_path: Path) -> None:
    options = json.loads(shared("oracles/checkpoint/opt.json").read_text())
    other = tmp_path / "opt.json"
    other.write_text(json.dumps({**options, "dset_name": "ego4d"}))
    with pytest.raises(WeightsInvalid, match=r"dset_name is 'ego4d'; known are hl"):
        import_released(released, other)
    other.write_text("[")
    with pytest.raises(WeightsInvalid, match=r"opt\.json: cannot be read"):
        import_released(released, other)
    path = tmp_path / "model_best.ckpt"
    weights = OrderedDict(read_released(released).weights)
    del weights["saliency_proj1.bias"]
    torch.save({"model": weights}, path)
    with pytest.raises(WeightsInvalid, match=r"highlight\.clip_projection\.bias is missing"):
        import_released(path, shared("oracles/checkpoint/opt.json"))


def test_checkpoint_survives_saving(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model.safetensors"
    save_checkpoint(checkpoint, path)
    loaded = load_checkpoint(path)
    loaded.require_features(checkpoint.video_features, checkpoint.text_features)
    assert replace(loaded, weights={}) == replace(checkpoint, weights={})
    inputs = (torch.randn(1, 9, 2818), torch.ones(1, 9), torch.randn(1, 4, 512), torch.ones(1, 4))
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.build_model()(*inputs).logits, checkpoint.build_model()(*inputs).logits, rtol=0, atol=0
        )
    assert [entry.name for entry in path.parent.iterdir()] == ["model.safetensors"]


def test_failed_save_leaves_the_old_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_checkpoint(replace(checkpoint, metrics={"mAP": object()}), path)  # type: ignore[dict-item]
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


def test_other_features_are_refused_by_name_and_number(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, path)
    slowfast, clip = checkpoint.video_features
    ours = r"this model reads slowfast \(2304\) \+ clip \(512\) = 2816 numbers per clip, but was given "
    for given, message in (
        ((clip, slowfast), r"clip \(512\) \+ slowfast \(2304\) = 2816 numbers: the order differs"),
        ((clip,), r"clip \(512\) numbers"),
        ((slowfast, replace(clip, dim=768)), r"slowfast \(2304\) \+ clip \(768\) = 3072 numbers"),
        ((slowfast, replace(clip, clip_length_s=1.0)), r".*clip: clip_length_s is 1\.0, the model's is 2\.0"),
        (
            (slowfast, replace(clip, normalization="none")),
            r".*clip: normalization is 'none', the model's is 'l2'",
        ),
    ):
        with pytest.raises(FeatureMismatch, match=ours + message):
            load_checkpoint(path).require_features(given, checkpoint.text_features)
    with pytest.raises(
        FeatureMismatch, match=r"reads clip_text \(512\) numbers per token, but was given glove \(300\)"
    ):
        load_checkpoint(path).require_features(
            checkpoint.video_features, replace(checkpoint.text_features, name="glove", dim=300)
        )


def test_feature_weights_are_compared(checkpoint: Checkpoint) -> None:
    slowfast, clip = checkpoint.video_features
    checkpoint.require_features([slowfast, replace(clip, weights_id="ViT-B/32")], checkpoint.text_features)
    known = replace(checkpoint, video_features=(slowfast, replace(clip, weights_id="ViT-B/32")))
    with pytest.raises(FeatureMismatch, match=r"clip: weights_id is 'ViT-L/14', the model's is 'ViT-B/32'"):
        known.require_features([slowfast, replace(clip, weights_id="ViT-L/14")], checkpoint.text_features)


def test_damaged_checkpoints_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(WeightsMissing, match="no such checkpoint"):
        load_checkpoint(path)
    save_checkpoint(checkpoint, path)
    content = path.read_bytes()
    for share in (0.0, 0.5, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(WeightsInvalid, match=r"model\.safetensors: truncated"):
            load_checkpoint(path)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(WeightsInvalid, match="not a checkpoint of vtg"):
        load_checkpoint(path)
    save_file({"x": torch.zeros(1)}, path, metadata={"vtg": '{"format": 99}'})
    with pytest.raises(WeightsInvalid, match="has format 99; this version of vtg reads format 1"):
        load_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_infinite_weights_are_refused(
    checkpoint: Checkpoint, released: Path, tmp_path: Path, value: float
) -> None:
    path = tmp_path / "model.safetensors"
    name = "fusion.video_projection.linears.0.weight"
    spoilt = checkpoint.weights[name].clone()
    spoilt[3, 5] = value
    save_checkpoint(replace(checkpoint, weights={**checkpoint.weights, name: spoilt}), path)
    message = (
        r"model\.safetensors: fusion\.video_projection\.linears\.0\.weight holds numbers that are not finite"
    )
    with pytest.raises(WeightsInvalid, match=message):
        load_checkpoint(path)
    weights = OrderedDict(read_released(released).weights)
    weights["coef"] = torch.full_like(weights["coef"], value)
    torch.save({"model": weights}, tmp_path / "model_best.ckpt")
    with pytest.raises(
        WeightsInvalid, match=r"model_best\.ckpt: boundaries\.scale holds numbers that are not"
    ):
        import_released(tmp_path / "model_best.ckpt", shared("oracles/checkpoint/opt.json"))


def test_weights_of_another_type(checkpoint: Checkpoint, released: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    half = {name: value.half() for name, value in checkpoint.weights.items()}
    save_checkpoint(replace(checkpoint, weights=half), path)
    with pytest.raises(
        WeightsInvalid, match=r"is of type float16, where weights are float32; save them as that"
    ):
        load_checkpoint(path)
    weights = OrderedDict((name, value.half()) for name, value in read_released(released).weights.items())
    torch.save({"model": weights}, tmp_path / "model_best.ckpt")
    imported = import_released(tmp_path / "model_best.ckpt", shared("oracles/checkpoint/opt.json"))
    assert {value.dtype for value in imported.weights.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("provenance", ["by whom"]),
        ("provenance", {"by": 1}),
        ("provenance", {"longest_clips": "many"}),
        ("provenance", {"longest_clips": "9" * 5000}),
        ("metrics", ["mAP"]),
        ("metrics", {"mAP": "\x1b[31mhigh"}),
        ("metrics", {"mAP": True}),
    ],
)
def test_a_description_of_other_types_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, field: str, value: object
) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_checkpoint(checkpoint, path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["vtg"])
    metadata = {"vtg": json.dumps({**header, field: value})}
    save_file(
        {name: value.contiguous() for name, value in checkpoint.weights.items()}, path, metadata=metadata
    )
    with pytest.raises(WeightsInvalid, match=rf"model\.safetensors: its description cannot be read: {field}"):
        load_checkpoint(path)


def test_checkpoint_of_other_dims_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    wider = replace(checkpoint.config, model=replace(checkpoint.config.model, feedforward_dim=128))
    save_checkpoint(replace(checkpoint, config=wider), path)
    with pytest.raises(
        WeightsInvalid, match=r"has shape \[64\], the configuration asks for \[128\].*, and \d+ more"
    ):
        load_checkpoint(path)


def test_threshold_of_a_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """It is stored to the last bit; a checkpoint without one reads as before."""
    save_checkpoint(checkpoint, tmp_path / "old.safetensors")
    with safe_open(tmp_path / "old.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["vtg"])
    assert "clear_from" not in header
    assert load_checkpoint(tmp_path / "old.safetensors").clear_from is None
    score = 0.1 + 0.2
    save_checkpoint(replace(checkpoint, clear_from=score), tmp_path / "new.safetensors")
    assert load_checkpoint(tmp_path / "new.safetensors").clear_from == score
    save_checkpoint(replace(checkpoint, clear_from=float("nan")), tmp_path / "bad.safetensors")
    with pytest.raises(WeightsInvalid, match="clear_from must be a score"):
        load_checkpoint(tmp_path / "bad.safetensors")


def test_checkpoint_from_before_the_existence_head(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Its description knows neither the head nor its weight."""
    from safetensors.torch import save_file

    path = tmp_path / "old.safetensors"
    save_checkpoint(checkpoint, path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["vtg"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del header["config"]["model"]["existence"], header["config"]["loss"]["existence_weight"]
    save_file(weights, path, metadata={"vtg": json.dumps(header)})
    assert not load_checkpoint(path).build_model().config.existence
