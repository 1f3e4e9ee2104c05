"""Models of several seeds in one checkpoint: what it answers, and what cannot be combined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from extractors.errors import UsageError
from model import Grounder
from model.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.checkpoints.combined import combine
from model.config import override_config
from model.rows import append_tef
from model.training.data.inputs import Inputs
from model.training.plan import plan_experiment
from tests.cli.running import vtg
from tests.model.grounding.test_trained import EXAMPLE, small_checkpoint, small_config
from tests.model.training.training_setup import write_config


def models(count: int = 3) -> list[tuple[Path, Checkpoint]]:
    config = override_config(small_config(), ["model.existence=true", "model.alignment_dim=6"])
    found = []
    for seed in range(count):
        checkpoint = replace(
            small_checkpoint(config, seed), provenance={"seed": str(seed), "longest_clips": str(60 + seed)}
        )
        found.append((Path(f"seed{seed}.safetensors"), checkpoint))
    return found


@torch.inference_mode()
def test_answers_are_means() -> None:
    parts = models()
    whole = combine(parts)
    data = whole.config.data
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(9) < torch.tensor([9, 6])[:, None]
    video = append_tef(torch.randn(2, 9, data.video_dim, generator=generator) * mask[..., None], mask)
    text, text_mask = torch.randn(2, 4, data.text_features.dim, generator=generator), torch.ones(2, 4).bool()
    outputs = [checkpoint.build_model()(video, mask, text, text_mask) for _, checkpoint in parts]
    found = whole.build_model()(video, mask, text, text_mask)
    for name in ("logits", "saliency", "engagement", "existence"):
        mean = torch.stack([getattr(output, name) for output in outputs]).mean(dim=0)
        torch.testing.assert_close(getattr(found, name), mean)
    product = torch.stack([output.offsets for output in outputs]).prod(dim=0)
    torch.testing.assert_close(found.offsets, product ** (1 / 3), rtol=1e-4, atol=1e-5)
    judged = [checkpoint.build_model().match(video, mask, text, text_mask) for _, checkpoint in parts]
    torch.testing.assert_close(
        whole.build_model().match(video, mask, text, text_mask), torch.stack(judged).mean(dim=0)
    )


def test_the_command_and_an_answer(tmp_path: Path) -> None:
    paths = []
    for path, checkpoint in models(2):
        paths.append(tmp_path / path)
        save_checkpoint(checkpoint, paths[-1])
    done = vtg("weights", "combine", *paths, "-o", tmp_path / "two.safetensors", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "two.safetensors")
    whole = load_checkpoint(tmp_path / "two.safetensors")
    assert whole.provenance == {"combined": "seed0 seed 0, seed1 seed 1", "longest_clips": "60"}
    assert whole.clear_from is None
    answers = [
        Grounder.load(str(file), cache=tmp_path / "cache", offline=True).ground(EXAMPLE, "a cat", top_k=2)[0]
        for file in (*paths, tmp_path / "two.safetensors")
    ]
    curves = [answer.saliency.scores for answer in answers]
    assert curves[2] == pytest.approx([(a + b) / 2 for a, b in zip(*curves[:2], strict=True)], abs=1e-4)
    done = vtg("weights", "combine", *paths, "-o", tmp_path / "two.ckpt", home=tmp_path)
    assert (done.returncode, "ends with .safetensors" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found[:1], "at least two"),
        (lambda found: [found[0], (Path("all"), combine(found))], "all: is a combined model already"),
        (
            lambda found: [found[0], (Path("b"), small_checkpoint())],
            r"b: its \[model\] is not that of seed0\.safetensors",
        ),
        (
            lambda found: [
                found[0],
                (Path("b"), replace(found[1][1], text_features=replace(found[1][1].text_features, name="x"))),
            ],
            "b: this model reads",
        ),
    ],
)
def test_what_cannot_be_combined(
    change: Callable[[list[tuple[Path, Checkpoint]]], list[tuple[Path, Checkpoint]]], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        combine(change(models()))


def test_only_one_network_is_trained(tmp_path: Path) -> None:
    config = write_config(override_config(small_config(), ["model.networks=2"]), tmp_path / "c.toml")
    (tmp_path / "mine.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match=r"model\.networks: one network is trained at a time"):
        plan_experiment(str(tmp_path / "mine.jsonl"), config=str(config), inputs=Inputs(videos=tmp_path))
