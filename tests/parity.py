"""Compare FlashVTG with stored runs of the released code.

    python tests/parity.py FILE...

A file holds the options of a run, the seed of its weights, and inputs with what the released code made of
them. Batches without padded clips must come out the same: outputs, losses, gradients. In ragged batches the
released code lets padding leak; there, every sample must come out as it does alone. Prints the largest
differences, and those of gradients so near zero that they are measured against the gradient as a whole; exits
with 1 if a difference is out of bounds. Gradients that are out of bounds in float32 are computed again in float64.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.checkpoints.released import config_from_options, our_name, our_weights
from model.config import Config
from model.decoding import decode_moments
from model.losses import Criterion, Targets, assign_points, negative_index
from model.network.flashvtg import FlashVTG, FlashVTGOutput

OUTPUT_BOUND = 1e-5
LOSS_BOUND = 1e-5
GRADIENT_BOUND = 1e-4

_LOSSES = {
    "loss_reg": "regression",
    "loss_cls": "classification",
    "loss_sal": "nce",
    "loss_saliency": "saliency",
    "loss_label": "clip_aware",
}


@dataclass(frozen=True)
class Difference:
    """How far one quantity is from the truth.

    Attributes:
        case, quantity: what was compared.
        relative: largest difference, relative to the largest value of the truth or to the floor.
        bound: what is allowed.
        strict: the same without the floor.
    """

    case: str
    quantity: str
    relative: float
    bound: float
    strict: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether it is within bounds; a NaN is not."""
        return self.relative <= self.bound


def load_case(path: Path) -> tuple[dict[str, Any], Config, FlashVTG]:
    """Read a file and build its model, with dropout off, in training mode."""
    case = torch.load(path, weights_only=True)
    config = config_from_options(case["opt"], case["shapes"])
    config = replace(config, model=replace(config.model, dropout=0.0, input_dropout=0.0, dummy_dropout=0.0))
    model = FlashVTG(config.model)
    model.load_state_dict(our_weights(_seeded_weights(path)(case["shapes"], case["seed"])))
    return case, config, model.train()


def compare_file(path: Path) -> Iterator[Difference]:
    """Every comparison that the file allows."""
    case, config, model = load_case(path)
    for batch in case.get("train", ()):
        if bool((batch["inputs"]["src_vid_mask"] > 0).all()):
            yield from compare_exactly(batch, config, model)
        else:
            yield from compare_with_alone(batch, config, model)
    for index, sample in enumerate(case.get("eval", ())):
        yield from compare_inference(f"eval[{index}]", sample, config, model)


def compare_exactly(batch: Mapping[str, Any], config: Config, model: FlashVTG) -> Iterator[Difference]:
    """Outputs, targets, losses and gradients of a batch against the stored ones."""
    name, truth = batch["name"], batch["outputs"]
    targets = targets_of(batch)
    output = run(batch, config, model)
    yield _difference(name, "points", output.points, truth["point"], 0)
    pairs = {
        "saliency": (output.saliency, truth["saliency_scores"]),
        "engagement": (output.engagement, truth["t2vattnvalues"]),
        "logits": (output.logits, truth["out_class"][..., 0]),
        "offsets": (output.offsets, truth["out_coord"]),
        "clips": (output.clips, truth["video_emb"]),
        "query": (output.query, truth["query_emb"][:, 0]),
    }
    if truth["saliency_scores_neg"] is None:
        assert output.negatives is None, f"{name}: there should be no negative pairs"
    else:
        assert output.negatives is not None, f"{name}: there should be negative pairs"
        assert output.negatives.index.tolist() == truth["real_neg_mask"].nonzero()[:, 0].tolist()
        pairs["negative saliency"] = (output.negatives.saliency, truth["saliency_scores_neg"])
        pairs["negative engagement"] = (output.negatives.engagement, truth["t2vattnvalues_neg"])
    for quantity, (ours, theirs) in pairs.items():
        yield _difference(name, quantity, ours, theirs, OUTPUT_BOUND)

    if batch.get("cls_tgt") is not None:
        assert targets.windows_s is not None
        windows = targets.windows_s * (1 / config.data.clip_length_s)
        assigned = assign_points(output.points, windows, radius=config.loss.sample_radius)
        positive = batch["cls_tgt"] > 0
        yield _difference(name, "positive points", assigned.positive.float(), positive.float(), 0)
        yield _difference(
            name, "offset targets", assigned.offsets[positive], batch["reg_tgt"][positive], OUTPUT_BOUND
        )

    model.zero_grad()
    terms = Criterion(config)(output, targets)
    for theirs, ours in _LOSSES.items():
        if theirs in batch["losses"]:
            value = torch.as_tensor(batch["losses"][theirs])
            yield _difference(name, ours, getattr(terms, ours), value, LOSS_BOUND)
    yield _difference(name, "total", terms.total, torch.as_tensor(batch["total"]), LOSS_BOUND)

    terms.total.backward()
    single = {name: parameter.grad for name, parameter in model.named_parameters()}
    differences = list(_gradient_differences(batch, single))
    if not all(difference.holds for difference in differences):
        # A hinge or a slope within rounding of its kink: which side float32 falls on changes with the processor.
        differences = list(_gradient_differences(batch, _exact_gradients(batch, config, model)))
    yield from differences


def _gradient_differences(
    batch: Mapping[str, Any], gradients: Mapping[str, Tensor | None]
) -> Iterator[Difference]:
    # Gradients far smaller than the rest are sums that cancel, and stored as their rounding noise: one of them
    # is 3e-4 from what float64 gives. They may be off by 1e-8 of the gradient as a whole.
    floor = 1e-8 / GRADIENT_BOUND * float(batch["grad_norm_total"])
    name = batch["name"]
    for theirs, norm in batch["grad_norms"].items():
        ours = our_name(theirs)
        if ours is None or not norm:
            unread = ours is None or gradients[ours] is None or not gradients[ours].any()
            assert unread, f"{name}: {theirs} should have no gradient"
            continue
        gradient = gradients[ours]
        assert gradient is not None, f"{name}: {theirs} should have a gradient"
        yield _difference(
            name, f"gradient of {ours}", gradient.norm(), torch.as_tensor(norm), GRADIENT_BOUND, floor
        )


def _exact_gradients(batch: Mapping[str, Any], config: Config, model: FlashVTG) -> dict[str, Tensor | None]:
    """The gradients in float64, of the network as it is written."""
    exact = FlashVTG(config.model, fast=False).double().train()
    exact.load_state_dict(model.state_dict())
    doubled = {**batch, "inputs": {name: _double(value) for name, value in batch["inputs"].items()}}
    targets = targets_of(batch)
    targets = replace(
        targets, **{field.name: _double(getattr(targets, field.name)) for field in fields(targets)}
    )
    Criterion(config)(run(doubled, config, exact), targets).total.backward()
    return {name: parameter.grad for name, parameter in exact.named_parameters()}


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


@torch.no_grad()
def compare_with_alone(batch: Mapping[str, Any], config: Config, model: FlashVTG) -> Iterator[Difference]:
    """Every sample of a ragged batch, under its own and under the next query, against the sample alone."""
    output = run(batch, config, model)
    video, video_mask, text, text_mask = inputs_of(batch)

    def alone(sample: int, query: int) -> FlashVTGOutput:
        clips, words = int(video_mask[sample].sum()), int(text_mask[query].sum())
        return model(
            video[sample : sample + 1, :clips],
            video_mask[sample : sample + 1, :clips],
            text[query : query + 1, :words],
            text_mask[query : query + 1, :words],
        )

    for sample in range(len(video)):
        name = f"{batch['name']}[{sample}]"
        truth = alone(sample, sample)
        clips = truth.saliency.shape[1]
        mask = output.point_mask[sample]
        yield _difference(name, "points", output.points[mask][:, [0, 3]], truth.points[:, [0, 3]], 0)
        for quantity, ours, theirs in (
            ("saliency", output.saliency[sample, :clips], truth.saliency[0]),
            ("engagement", output.engagement[sample, :clips], truth.engagement[0]),
            ("logits", output.logits[sample][mask], truth.logits[0]),
            ("offsets", output.offsets[sample][mask], truth.offsets[0]),
            ("clips", output.clips[sample, :clips], truth.clips[0]),
            ("query", output.query[sample], truth.query[0]),
        ):
            yield _difference(name, quantity, ours, theirs, OUTPUT_BOUND)
    if output.negatives is not None:
        for row, sample in enumerate(output.negatives.index.tolist()):
            name = f"{batch['name']}[{sample}]"
            truth = alone(sample, (sample + 1) % len(video))
            clips = truth.saliency.shape[1]
            for quantity in ("saliency", "engagement"):
                ours = getattr(output.negatives, quantity)[row, :clips]
                yield _difference(
                    name, f"negative {quantity}", ours, getattr(truth, quantity)[0], OUTPUT_BOUND
                )


@torch.no_grad()
def compare_inference(
    name: str, sample: Mapping[str, Any], config: Config, model: FlashVTG
) -> Iterator[Difference]:
    """Saliency and ranked boundaries of one query."""
    was_training = model.training
    output = model.eval()(*inputs_of(sample))
    model.train(was_training)
    boundary = decode_moments(
        output.offsets,
        output.logits.sigmoid(),
        output.points,
        output.point_mask,
        clip_length_s=config.data.clip_length_s,
        top_k=config.decoding.max_moments,
    )
    yield _difference(name, "saliency", output.saliency[0], sample["saliency"], OUTPUT_BOUND)
    if sample.get("t2vattnvalues") is not None:
        yield _difference(name, "engagement", output.engagement, sample["t2vattnvalues"], OUTPUT_BOUND)
    yield _difference(name, "scores", boundary[0, :, 2], sample["boundary"][:, 2], OUTPUT_BOUND)
    yield _difference(
        name, "boundary", _in_order_of(sample["boundary"], boundary[0]), sample["boundary"], OUTPUT_BOUND
    )


def inputs_of(batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Video, text, and their masks."""
    inputs = batch["inputs"]
    return inputs["src_vid"], inputs["src_vid_mask"], inputs["src_txt"], inputs["src_txt_mask"]


def run(batch: Mapping[str, Any], config: Config, model: FlashVTG) -> FlashVTGOutput:
    """A training batch through the model, with its negatives."""
    video, video_mask, text, text_mask = inputs_of(batch)
    negatives = negative_index(batch["inputs"]["vid"], config.training.negative_identity)
    output: FlashVTGOutput = model(video, video_mask, text, text_mask, negatives=negatives)
    return output


def targets_of(batch: Mapping[str, Any]) -> Targets:
    """What the stored batch was to learn."""
    targets = batch["targets"]
    windows = [meta.get("relevant_windows") for meta in batch["metas"]]
    windows_s = None
    if all(windows):
        rows = [torch.tensor(moments, dtype=torch.float32) for moments in windows]
        windows_s = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.inf)
    return Targets(
        targets["saliency_all_labels"],
        targets["saliency_pos_labels"],
        targets["saliency_neg_labels"],
        windows_s,
    )


def _difference(
    case: str, quantity: str, ours: Tensor, theirs: Tensor, bound: float, floor: float = 1e-12
) -> Difference:
    ours, theirs = ours.detach().double(), theirs.detach().double()
    if ours.shape != theirs.shape:
        return Difference(case, f"{quantity} {tuple(ours.shape)} ≠ {tuple(theirs.shape)}", torch.inf, bound)
    apart = torch.where(ours == theirs, 0.0, (ours - theirs).abs())  # infinities are equal to themselves
    scale = theirs[theirs.isfinite()].abs().max() if theirs.numel() else torch.tensor(1.0)
    if not apart.numel():
        return Difference(case, quantity, 0.0, bound)
    relative, strict = (float(apart.max() / scale.clamp(min=least)) for least in (floor, 1e-12))
    return Difference(case, quantity, relative, bound, strict)


def _in_order_of(theirs: Tensor, ours: Tensor) -> Tensor:
    """Our moments, those of equal score (to rounding) in the order of the stored ones.

    Which of several equal moments comes first, and is the last to be kept, is up to the last bit of the score.
    """
    tied = (theirs[:, None, 2] - ours[None, :, 2]).abs() <= OUTPUT_BOUND * theirs[:, 2].abs().max()
    apart = (theirs[:, None, :2] - ours[None, :, :2]).abs().amax(dim=-1)  # (theirs, ours)
    matched = ours[torch.where(tied, apart, torch.inf).argmin(dim=1)]
    at_the_cut = (theirs[:, 2] - theirs[-1, 2]).abs() <= OUTPUT_BOUND * theirs[:, 2].abs().max()
    return torch.where((at_the_cut & ~(apart.amin(dim=1) < 1e-2))[:, None], theirs, matched)


def _seeded_weights(path: Path) -> Any:
    """The function that rebuilds weights, which lies beside the files or one folder up."""
    for folder in (path.resolve().parent, path.resolve().parents[1]):
        source = folder / "seeded_weights.py"
        if source.exists():
            spec = importlib.util.spec_from_file_location("seeded_weights", source)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module.seeded_weights
    raise FileNotFoundError(f"seeded_weights.py is neither beside {path} nor one folder up")


def main(paths: list[str]) -> int:
    """Compare files; 1 if any difference is out of bounds."""
    if not paths:
        print(__doc__)
        return 2
    failed = False
    for path in map(Path, paths):
        differences = list(compare_file(path))
        print(f"{path.name}: {len(differences)} comparisons")
        for kind in ("gradient", ""):
            rows = [d for d in differences if d.quantity.startswith("gradient") == bool(kind)]
            for row in sorted(rows, key=lambda d: d.relative, reverse=True)[:5]:
                print(f"  {row.relative:9.2e} of {row.bound:.0e}  {row.case:18} {row.quantity}")
        for row in differences:
            if row.holds and row.strict > row.bound:
                name = f"{row.case} {row.quantity}"
                print(f"  near zero: {row.strict:9.2e} of itself, {row.relative:9.2e} of the floor  {name}")
            if not row.holds:
                failed = True
                print(f"  OUT OF BOUNDS {row.relative:9.2e} > {row.bound:.0e}  {row.case} {row.quantity}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
