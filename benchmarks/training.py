"""Time an epoch of training, and what batches of similar length and bf16 save.

    python benchmarks/training.py [--queries 256] [--rounds 2] [--threads N]

A synthetic set with one moment per video, videos of 20 to 60 s in clips of 1 s, through the network of the Charades
configurations. `plain` shuffles like the released code, in fp32; the others follow it in turn (A B C A B C), so that a
busy machine slows all of them. CPU seconds count all threads. At last, an epoch is profiled: what its time is spent on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.synthetic_data import SyntheticSpec, write_synthetic
from model.config import Config, load_config
from model.datasets.grounding import EpochBatches, GroundingDataset, collate
from model.losses import Criterion, negative_index
from model.network.flashvtg import FlashVTG
from model.training.data.inputs import Inputs
from model.training.data.splits import Split, training_splits
from model.training.evaluation import evaluate_model

_VARIANTS = {
    "plain": ["training.length_groups=1"],
    "like lengths": ["training.length_groups=8"],
    "like lengths, bf16": ["training.length_groups=8", "training.precision=bf16"],
}
_PROFILED = "like lengths"
_KINDS = {
    "matrix products": ("mm", "addmm", "addmm_", "bmm", "baddbmm"),
    "convolutions": ("convolution", "mkldnn_convolution", "convolution_backward"),
    "copies": ("copy_", "cat", "index_select", "gather"),
    "random numbers": ("random_", "bernoulli_", "native_dropout"),
}


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds, and the share of clips that were padding."""

    wall_s: float
    cpu_s: float
    padding: float = 0.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder), arguments.queries, arguments.rounds)


def _measure(folder: Path, queries: int, rounds: int) -> None:
    _write(folder, queries)
    configs = {name: _config(overrides) for name, overrides in _VARIANTS.items()}
    train, held_out = training_splits(configs["plain"], Inputs(data=folder))
    reading = _reading(configs["plain"], train)
    costs: dict[str, list[Cost]] = {name: [] for name in configs}
    for _ in range(rounds):
        for name, config in configs.items():
            costs[name].append(_epoch(config, train))
    print(
        f"{queries} queries, batches of {configs['plain'].training.batch_size}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads"
    )
    print(f"{'an epoch':24}{'wall s':>9}{'CPU s':>9}{'padding':>9}{'CPU, plain = 1':>16}")
    plain = statistics.mean(cost.cpu_s for cost in costs["plain"])
    for name, measured in costs.items():
        wall, cpu = (statistics.mean(getattr(cost, key) for cost in measured) for key in ("wall_s", "cpu_s"))
        ratios = [cost.cpu_s / plain for cost in measured]
        print(
            f"{name:24}{wall:9.1f}{cpu:9.1f}{measured[0].padding:9.0%}{cpu / plain:10.2f} "
            f"({min(ratios):.2f}-{max(ratios):.2f})"
        )
    print(f"{'reading, first epoch':24}{reading[0].wall_s:9.2f}{reading[0].cpu_s:9.2f}")
    print(f"{'reading, later epochs':24}{reading[1].wall_s:9.2f}{reading[1].cpu_s:9.2f}")
    scoring = _scoring(configs["plain"], held_out)
    print(f"{f'scoring {len(held_out.annotations)} queries':24}{scoring.wall_s:9.2f}{scoring.cpu_s:9.2f}")
    shares = _shares(configs[_PROFILED], train)
    print(f"an epoch, {_PROFILED}: " + ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items()))


def _write(folder: Path, queries: int) -> None:
    """Four lots of videos of other lengths, as one dataset."""
    rows: dict[str, list[str]] = {"train": [], "val": []}
    for lot, duration_s in enumerate((20.0, 27.0, 34.0, 60.0)):
        spec = SyntheticSpec(
            train_queries=queries // 4,
            val_queries=queries // 8,
            slowfast_dim=2304,
            seed=lot,
            duration_s=duration_s,
            clip_length_s=1.0,
            windows="single",
        )
        write_synthetic(folder / str(lot), spec)
        for name, lines in rows.items():
            for line in (folder / str(lot) / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                row["qid"], vid = f"{lot}-{row['qid']}", row["vid"]
                row["vid"] = f"{lot}-{vid}"
                lines.append(json.dumps(row))
                for kind in ("clip_features", "slowfast_features"):
                    (folder / kind).mkdir(exist_ok=True)
                    (folder / str(lot) / kind / f"{vid}.npz").replace(folder / kind / f"{row['vid']}.npz")
                kind, qid = "clip_text_features", json.loads(line)["qid"]
                (folder / kind).mkdir(exist_ok=True)
                (folder / str(lot) / kind / f"qid{qid}.npz").replace(folder / kind / f"qid{row['qid']}.npz")
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _config(overrides: Sequence[str]) -> Config:
    return load_config(
        "charades-sta-slowfast-clip",
        [
            "training.batch_size=32",
            "data.train_annotations=train.jsonl",
            "data.eval_annotations=val.jsonl",
            *overrides,
        ],
    )


def _reading(config: Config, split: Split) -> list[Cost]:
    """Two epochs of batches without a network."""
    dataset = split.dataset(config, labelled=True)
    costs = []
    for epoch in (1, 2):
        start, start_cpu = time.perf_counter(), time.process_time()
        for places in _places(config, dataset, epoch):
            collate([dataset[place] for place in places])
        costs.append(Cost(time.perf_counter() - start, time.process_time() - start_cpu))
    return costs


def _epoch(config: Config, split: Split) -> Cost:
    torch.manual_seed(config.training.seed)
    network, criterion = FlashVTG(config.model).train(), Criterion(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.training.learning_rate, fused=True)
    dataset = split.dataset(config, labelled=True)
    start, start_cpu, clips, padded = time.perf_counter(), time.process_time(), 0, 0
    for places in _places(config, dataset, 1):
        batch = collate([dataset[place] for place in places])
        clips += int(batch.video_mask.sum())
        padded += batch.video_mask.numel()
        negatives = negative_index([annotation.vid for annotation in batch.annotations], "video")
        with torch.autocast("cpu", torch.bfloat16, enabled=config.training.precision == "bf16"):
            output = network(batch.video, batch.video_mask, batch.text, batch.text_mask, negatives=negatives)
        assert batch.targets is not None
        optimizer.zero_grad()
        criterion(output, batch.targets).total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.training.gradient_clip)
        optimizer.step()
    return Cost(time.perf_counter() - start, time.process_time() - start_cpu, 1 - clips / padded)


def _shares(config: Config, split: Split) -> dict[str, float]:
    """Kind of operation to its share of the time of an epoch."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        _epoch(config, split)
    times = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in profile.key_averages()}
    total = sum(times.values())
    shares = {kind: sum(times.get(name, 0) for name in names) / total for kind, names in _KINDS.items()}
    return shares | {"the rest": 1 - sum(shares.values())}


def _scoring(config: Config, split: Split) -> Cost:
    dataset = split.dataset(config, labelled=False)
    network = FlashVTG(config.model)
    evaluate_model(network, dataset)  # features are in memory from here on
    start, start_cpu = time.perf_counter(), time.process_time()
    evaluate_model(network, dataset)
    return Cost(time.perf_counter() - start, time.process_time() - start_cpu)


def _places(config: Config, dataset: GroundingDataset, epoch: int) -> EpochBatches:
    batches = EpochBatches([annotation.duration_s for annotation in dataset.annotations], config.training)
    batches.epoch = epoch
    return batches


if __name__ == "__main__":
    main()
