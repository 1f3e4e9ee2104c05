"""Train the existence head alone, in a minute, and score it.

    python benchmarks/existence.py --data FOLDER [--seeds 1 2 3] [--epochs 8] [--set KEY=VALUE …] --absent FILE …

The head shares no weight with the rest of the network, so it can be learnt without running the rest: from the same
first weights and the same batches, it ends with the weights that `vtg train` gives it with this seed. `--absent` names
files of negatives about videos of the evaluation split. For each, the AUROC of the head and that of the sentences alone
are printed, as `vtg eval --negatives` prints them. `--set training.negatives=FILE` learns from a file as well.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.config import Config, load_config
from model.datasets.grounding import EpochBatches, GroundingDataset, collate
from model.losses import existence_loss, foreign_pairs
from model.metrics.existence import Array, Asked, auroc, text_only_auroc
from model.network.flashvtg import FlashVTG
from model.training.data.absent import AbsentBatches
from model.training.data.inputs import Inputs
from model.training.data.splits import Split, negative_split, training_negatives, training_splits


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="charades-clip-minilm")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--absent", type=Path, nargs="+", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    inputs = Inputs(data=arguments.data)
    config = load_config(arguments.config, arguments.overrides)
    learnt, scored = training_splits(config, inputs)
    negatives = training_negatives(config, inputs, scored)
    absent = {file.stem: negative_split(config, inputs, file) for file in arguments.absent}
    for name, split in absent.items():
        print(f"{name}: text only {text_only_auroc(_texts(scored), _texts(split)):.3f}", flush=True)
    for seed in arguments.seeds:
        seeded = load_config(arguments.config, [*arguments.overrides, f"training.seed={seed}"])
        network = learn_head(seeded, learnt, negatives, arguments.epochs)
        own = scores(network, scored.dataset(seeded, labelled=False))
        areas = {
            name: auroc(own, scores(network, split.dataset(seeded, labelled=False)))
            for name, split in absent.items()
        }
        print(f"seed {seed}:", *(f"{name} {area:.3f}" for name, area in areas.items()), flush=True)


def learn_head(config: Config, learnt: Split, negatives: Split | None, epochs: int) -> FlashVTG:
    """A network whose existence head is trained, and whose other weights are as they were drawn."""
    training = config.training
    torch.manual_seed(training.seed)
    network = FlashVTG(config.model)
    head = network.existence
    assert head is not None, "model.existence is off"
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    samples = learnt.dataset(config, labelled=False)
    batches = EpochBatches([annotation.duration_s for annotation in samples.annotations], training)
    absent = None
    if negatives is not None:
        dataset = negatives.dataset(config, labelled=False)
        absent = AbsentBatches(dataset, training.batch_size, training.seed)
    multiple = 1 if training.precision == "fp32" else 8  # as `model.training.loop` pads
    for epoch in range(1, epochs + 1):
        batches.epoch = epoch
        further = None if absent is None else absent.of_epoch(epoch)
        for places in batches:
            batch = collate([samples[place] for place in places], multiple)
            pairs = network.match(batch.video, batch.video_mask, batch.text, batch.text_mask)
            foreign = foreign_pairs(
                [annotation.vid for annotation in batch.annotations], training.negative_identity
            )
            others: Tensor | None = None
            if further is not None:
                some = next(further)
                others = network.match(some.video, some.video_mask, some.text, some.text_mask).diagonal()
            loss = existence_loss(pairs.diagonal(), pairs[foreign], others)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network


@torch.inference_mode()
def scores(network: FlashVTG, dataset: GroundingDataset) -> Array:
    """(Q,) logits of videos under the queries of a split."""
    found: list[float] = []
    for start in range(0, len(dataset), 64):
        batch = collate([dataset[0, index] for index in range(start, min(start + 64, len(dataset)))])
        found += network.match(batch.video, batch.video_mask, batch.text, batch.text_mask).diagonal().tolist()
    return np.array(found)


def _texts(split: Split) -> Asked:
    """Queries without scores."""
    rows = [np.asarray(split.texts.load(a), dtype=np.float64).mean(axis=0) for a in split.annotations]
    return Asked(np.zeros(len(rows)), np.array(rows), [a.vid for a in split.annotations])


if __name__ == "__main__":
    main()
