"""Weights files of the real architectures, in every published form, filled from a seed.

The names of the forms are derived here by rewriting pytorchvideo's names, not with the table under test.
"""

from __future__ import annotations

import pickle
import re
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import open_clip
    from pytorchvideo.models.hub.slowfast import slowfast_r50
from torchvision.models import vgg16


def clip_model(seed: int = 0) -> nn.Module:
    """CLIP ViT-B/32 of open_clip with random weights, in evaluation mode; do not change it."""
    return _clip_model(seed)


def slowfast_model(seed: int = 0) -> nn.Module:
    """SlowFast 8x8 R50 of pytorchvideo with random weights, in evaluation mode; do not change it.

    Its normalisations hold the statistics of random clips: without, a random network of this depth gives
    nearly the same row whatever it sees.
    """
    return _slowfast_model(seed)


def vgg_model(seed: int = 0) -> nn.Module:
    """VGG-16 of torchvision with random weights, in evaluation mode; do not change it."""
    return _vgg_model(seed)


@cache
def _clip_model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = open_clip.CLIP(**open_clip.get_model_config("ViT-B-32-quickgelu"))
    return model.eval().requires_grad_(False)


@cache
def _slowfast_model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = slowfast_r50(pretrained=False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = None  # statistics of the one batch below
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    pathways = _pathways(random_frames(2, 32, seed=seed)[:, :, ::4, ::4])
    with torch.no_grad():
        for block in model.train().blocks[:5]:
            pathways = block(pathways)
    return model.eval().requires_grad_(False)


@cache
def _vgg_model(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = vgg16()
    return model.eval().requires_grad_(False)


def write_clip_safetensors(path: Path, seed: int = 0) -> Path:
    """As the Hugging Face repository has it."""
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in clip_model(seed).state_dict().items()}, path)
    return path


def write_clip_state_dict(path: Path, seed: int = 0, *, trained_in_parallel: bool = False) -> Path:
    """As torch saves it: plain, or under `state_dict` with the prefix of data-parallel training."""
    state = clip_model(seed).state_dict()
    if trained_in_parallel:
        torch.save(
            {"epoch": 1, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path
        )
    else:
        torch.save(state, path)
    return path


def write_clip_torchscript(path: Path, seed: int = 0) -> Path:
    """As OpenAI released it: a program with half-precision weights and three numbers on the side."""
    root = nn.Module()
    for name, value in clip_model(seed).state_dict().items():
        *parents, leaf = name.split(".")
        module = root
        for parent in parents:
            if parent not in module._modules:
                module.add_module(parent, nn.Module())
            module = module._modules[parent]  # type: ignore[assignment]
        module.register_parameter(leaf, nn.Parameter(value.half(), requires_grad=False))
    for name, number in (("input_resolution", 224), ("context_length", 77), ("vocab_size", 49408)):
        root.register_buffer(name, torch.tensor(number))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(root).save(str(path))
    return path


def clip_transformers_state(seed: int = 0) -> dict[str, Tensor]:
    """CLIP's tensors as the transformers library names them; as its converter makes them, they are views."""
    state: dict[str, Tensor] = {
        "text_model.embeddings.position_ids": torch.arange(77)[None],  # in files of older versions
        "vision_model.embeddings.position_ids": torch.arange(50)[None],
    }
    for name, value in clip_model(seed).state_dict().items():
        if ".attn.in_proj_" in name:
            layer, kind = name.split(".attn.in_proj_")
            for part, rows in zip("qkv", value.chunk(3), strict=True):
                state[f"{transformers_name(layer)}.self_attn.{part}_proj.{kind}"] = rows
        elif name in ("visual.proj", "text_projection"):
            state[f"{'visual' if name == 'visual.proj' else 'text'}_projection.weight"] = value.T
        else:
            state[transformers_name(name)] = value
    return state


def write_clip_transformers(path: Path, seed: int = 0) -> Path:
    """As the transformers library writes it: safetensors, or by torch where the suffix is another."""
    state = clip_transformers_state(seed)
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(
            {name: value.contiguous() for name, value in state.items()}, path, metadata={"format": "pt"}
        )
    else:
        torch.save(state, path)
    return path


def transformers_name(name: str) -> str:
    """OpenAI's name of a tensor, or of a part of the network, as transformers spells it."""
    tower, rest = ("vision", name.removeprefix("visual.")) if name.startswith("visual.") else ("text", name)
    if name == "logit_scale":
        return name
    if block := re.fullmatch(r"transformer\.resblocks\.(\d+)(.*)", rest):
        inside = block[2].replace(".ln_1", ".layer_norm1").replace(".ln_2", ".layer_norm2")
        inside = inside.replace("c_fc", "fc1").replace("c_proj", "fc2").replace(".attn.", ".self_attn.")
        return f"{tower}_model.encoder.layers.{block[1]}{inside}"
    whole = {
        "token_embedding.weight": "embeddings.token_embedding.weight",
        "positional_embedding": "embeddings.position_embedding.weight",
        "class_embedding": "embeddings.class_embedding",
        "conv1.weight": "embeddings.patch_embedding.weight",
    }
    layers = {"ln_final": "final_layer_norm", "ln_pre": "pre_layrnorm", "ln_post": "post_layernorm"}
    layer, _, kind = rest.partition(".")
    return f"{tower}_model." + (whole[rest] if rest in whole else f"{layers[layer]}.{kind}")


def write_slowfast_pytorchvideo(path: Path, seed: int = 0) -> Path:
    """As the PyTorchVideo zoo has it."""
    torch.save({"model_state": slowfast_model(seed).state_dict()}, path)
    return path


def write_slowfast_pyslowfast(path: Path, seed: int = 0, *, legacy: bool = False) -> Path:
    """As PySlowFast saves a checkpoint; `legacy` in torch's format before zip archives."""
    state = {pyslowfast_name(name): value for name, value in slowfast_model(seed).state_dict().items()}
    content = {"epoch": 196, "model_state": state, "optimizer_state": {"state": {}}, "cfg": "MODEL: ..."}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def write_slowfast_caffe2(path: Path, seed: int = 0, *, protocol: int = 2) -> Path:
    """As the PySlowFast zoo has its Caffe2 models, with remains of the optimizer."""
    blobs: dict[str, object] = {"lr": np.array([0.1], np.float32), "model_iter": np.array([7], np.int64)}
    for name, value in slowfast_model(seed).state_dict().items():
        if not name.endswith("num_batches_tracked"):
            blobs[caffe2_name(name)] = value.numpy()
    blobs["conv1_w_momentum"] = np.zeros((64, 3, 1, 7, 7), np.float32)
    path.write_bytes(pickle.dumps({"blobs": blobs}, protocol=protocol))
    return path


def write_vgg_state_dict(path: Path, seed: int = 0) -> Path:
    """As torchvision publishes it."""
    torch.save(vgg_model(seed).state_dict(), path)
    return path


def random_frames(*shape: int, seed: int = 0) -> np.ndarray:
    """(*shape, 224, 224, 3) uint8 frames: smooth, alike along all but the first axis."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(0, 255, (shape[0], *(1 for _ in shape[1:]), 3, 8, 8))
    changes = rng.uniform(-60, 60, (*shape, 3, 8, 8))
    coarse = torch.from_numpy((first + changes).reshape(-1, 3, 8, 8).astype(np.float32))
    fine = nn.functional.interpolate(coarse, (224, 224), mode="bicubic").clamp(0, 255).round().byte()
    return fine.permute(0, 2, 3, 1).reshape(*shape, 224, 224, 3).contiguous().numpy()


def pyslowfast_name(name: str) -> str:
    """pytorchvideo's name of a tensor as PySlowFast spells it."""
    name = re.sub(r"^blocks\.6\.proj\.", "head.projection.", name)
    name = re.sub(r"^blocks\.0\.multipathway_blocks\.(\d)\.conv\.", r"s1.pathway\1_stem.conv.", name)
    name = re.sub(r"^blocks\.0\.multipathway_blocks\.(\d)\.norm\.", r"s1.pathway\1_stem.bn.", name)
    name = re.sub(
        r"^blocks\.(\d)\.multipathway_fusion\.(conv_fast_to_slow|norm)\.",
        lambda m: f"s{int(m[1]) + 1}_fuse.{'bn' if m[2] == 'norm' else 'conv_f2s'}.",
        name,
    )
    name = re.sub(
        r"^blocks\.(\d)\.multipathway_blocks\.(\d)\.res_blocks\.(\d)\.",
        lambda m: f"s{int(m[1]) + 1}.pathway{m[2]}_res{m[3]}.",
        name,
    )
    name = re.sub(r"branch2\.conv_([abc])\.", r"branch2.\1.", name)
    name = re.sub(r"branch2\.norm_([abc])\.", r"branch2.\1_bn.", name)
    return name.replace("branch1_conv.", "branch1.").replace("branch1_norm.", "branch1_bn.")


def caffe2_name(name: str) -> str:
    """pytorchvideo's name of a tensor as Caffe2 spelled it."""
    name = pyslowfast_name(name)
    if name.startswith("head."):
        return name.replace("head.projection.weight", "pred_w").replace("head.projection.bias", "pred_b")
    kernel, _, kind = name.rpartition(".")
    norm = kernel.endswith("bn")
    suffix = {"weight": "s" if norm else "w", "bias": "b", "running_mean": "rm", "running_var": "riv"}[kind]
    stem = re.fullmatch(r"s1\.pathway(\d)_stem\.(conv|bn)", kernel)
    fuse = re.fullmatch(r"s(\d)_fuse\.(conv_f2s|bn)", kernel)
    block = re.fullmatch(r"s(\d)\.pathway(\d)_res(\d)\.(branch\d)\.?([abc]?)(_bn)?", kernel)
    if stem:
        layer = ("t_" if stem[1] == "1" else "") + ("res_conv1_bn" if norm else "conv1")
    elif fuse:
        source = {"1": "t_pool1", "2": "t_res2_2", "3": "t_res3_3", "4": "t_res4_5"}[fuse[1]]
        source += "" if fuse[1] == "1" else "_branch2c_bn"
        layer = f"{source}_subsample" + ("_bn" if norm else "")
    else:
        assert block, name
        layer = ("t_" if block[2] == "1" else "") + f"res{block[1]}_{block[3]}_{block[4]}{block[5]}"
        layer += "_bn" if norm else ""
    return f"{layer}_{suffix}"


def slowfast_reference(clips: np.ndarray, seed: int = 0) -> Tensor:
    """(B, 2304) by the whole pytorchvideo network, its own pooling and all, in fp32."""
    features: list[Tensor] = []
    pooled = slowfast_model(seed).blocks[5]
    hook = pooled.register_forward_hook(lambda _module, _inputs, output: features.append(output))
    try:
        with torch.inference_mode():
            slowfast_model(seed)(_pathways(clips))
    finally:
        hook.remove()
    return features[0].flatten(1)


def _pathways(clips: np.ndarray) -> list[Tensor]:
    pixels = (torch.from_numpy(clips).float() / 255 - 0.45) / 0.225  # (B, 32, H, W, 3)
    fast = pixels.permute(0, 4, 1, 2, 3)  # (B, 3, 32, H, W)
    return [fast[:, :, torch.linspace(0, 31, 8).long()], fast]
