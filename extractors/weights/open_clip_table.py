"""What open_clip knows of its models: the size of rows, where weights are published, how frames are prepared.

open_clip is imported when a name is looked up, which takes seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from extractors.errors import UsageError

PREFIX = "open_clip:"
"""What the names of these features and of their weights begin with."""

_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_TORCHSCRIPT_HOST = "openaipublic"  # its files hold programs; the hub has the same weights as plain tensors
_RESIZE_MODES = ("shortest", "squash")


@dataclass(frozen=True)
class OpenClipModel:
    """A model of open_clip, with published weights or without.

    Attributes:
        name: `open_clip:MODEL/PRETRAINED`, or `open_clip:MODEL` if its weights are the user's own.
        model: its name in open_clip.
        dim: length of the rows of both towers.
        size: side in pixels of the square frames that it reads.
        squashes: whether a frame is squashed to a square; otherwise its centre is cut out.
        mean, std: of red, green and blue, with which pixels in [0, 1] are normalised.
        context_length: tokens that are read of a query, marks of its start and end included.
        pad_id: the token that fills up shorter queries.
        tokenizer: the name of its tokenizer on the hub; empty if it is CLIP's, which is part of open_clip.
        hf_repo: repository on the Hugging Face hub that holds the weights; empty if there are none.
        files: names they may have there, the best first.
        mirrors: further links to them.
        tags: the names of all weights that are published for the model.
    """

    name: str
    model: str
    dim: int
    size: int
    squashes: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    context_length: int
    pad_id: int
    tokenizer: str
    hf_repo: str
    files: tuple[str, ...]
    mirrors: tuple[str, ...]
    tags: tuple[str, ...]


@cache
def open_clip_model(name: str) -> OpenClipModel:
    """Look a model up in open_clip's tables.

    Args:
        name: as `OpenClipModel.name`.

    Raises:
        UsageError: if open_clip has no such model, or no such weights of it; the message lists what comes close.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it scripts functions, which torch calls deprecated by now
        import open_clip

    model, slash, tag = name.removeprefix(PREFIX).partition("/")
    config = open_clip.get_model_config(model) if model in open_clip.list_models() else None
    if config is None:
        raise UsageError(
            f"{name}: open_clip has no model '{model}'; {_near(model, open_clip.list_models(), 'models')}"
        )
    tags = tuple(open_clip.list_pretrained_tags_by_model(model))
    if slash and tag not in tags:
        raise UsageError(
            f"{name}: open_clip has no weights '{tag}' of {model}; {_near(tag, tags, 'weights')}. "
            f"A file of your own: --features {PREFIX}{model} --weights {PREFIX}{model}=FILE"
        )
    published = open_clip.get_pretrained_cfg(model, tag) if tag else {}
    resize_mode = published.get("resize_mode", "shortest")
    size = config["vision_cfg"].get("image_size", 224)
    if resize_mode not in _RESIZE_MODES or not isinstance(size, int):
        raise UsageError(f"{name}: it reads frames of another form than squares, which vtg cannot make")
    text = config["text_cfg"]
    return OpenClipModel(
        name=name,
        model=model,
        dim=int(config["embed_dim"]),
        size=size,
        squashes=resize_mode == "squash",
        mean=tuple(published.get("mean", open_clip.OPENAI_DATASET_MEAN)),
        std=tuple(published.get("std", open_clip.OPENAI_DATASET_STD)),
        context_length=int(text.get("context_length", 77)),
        pad_id=int(text.get("pad_id", 0)),
        tokenizer=str(text.get("hf_tokenizer_name", "")),
        tags=tags,
        **_places(published),
    )


def _places(published: Mapping[str, Any]) -> dict[str, Any]:
    """Where weights are: the fields of `OpenClipModel` about that."""
    hub, url = published.get("hf_hub", ""), published.get("url", "")
    repo, _, file = hub.rpartition("/")
    files = (file.rpartition(".")[0] + ".safetensors", file) if file else _HUB_FILES
    return {
        "hf_repo": repo,
        "files": tuple(dict.fromkeys(files)) if repo else (),
        "mirrors": (url,) if url and _TORCHSCRIPT_HOST not in url else (),
    }


def _near(name: str, known: Iterable[str], what: str) -> str:
    """The names that come close to one, for the end of a message; all if there are few."""
    known = list(known)
    by_small = {one.lower(): one for one in known}
    near = [by_small[one] for one in get_close_matches(name.lower(), by_small, n=5, cutoff=0.6)]
    if near:
        return f"close to it are {', '.join(near)}"
    if not known:
        return f"it has no {what}"
    return f"it has {', '.join(known[:8])}" + (f" and {len(known) - 8} more" if len(known) > 8 else "")
