"""What many hours of video cost: nodes, hours, money and storage, from measured seconds and your prices. Prints tables.

    vtg bench --features clip,slowfast --json > bench.json
    python benchmarks/scale.py bench.json [--hours 1000,100000,1000000] [--deadline-h 72] [--vectors-per-row 0.35]
    python benchmarks/scale.py bench.json --cores 16 --price 0.70 --spot 0.35 --storage-price 23

The CPU seconds of `vtg bench` for decoding and for each encoder are scaled to an hour of video. A core does 3,600 of
them an hour, times --efficiency, the share of its time that is used. There are as many nodes as meet the deadline. With
--gpu-clips NAME=N, a clip of these features takes 1/N s of a GPU instead.

Rows are float16. Nothing here is a price list: prices are inputs.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from extractors.encoders.registry import clip_length_s, video_feature

INDEX_BYTES = 140
"""Of a vector in an index on disk, besides its values in half precision: codes and numbers (docs/search.md)."""


@dataclass(frozen=True)
class Cost:
    """What an hour of video takes.

    Attributes:
        decode_cpu_s: seconds of one core to decode it once.
        encode_cpu_s: likewise for the encoders that compute on CPUs.
        gpu_s: seconds of a GPU for the others.
        row_bytes: of its rows, in half precision.
        index_bytes: of the index of the first features, if every row had a vector.
    """

    decode_cpu_s: float
    encode_cpu_s: float
    gpu_s: float
    row_bytes: float
    index_bytes: float

    @property
    def cpu_s(self) -> float:
        """Seconds of one core."""
        return self.decode_cpu_s + self.encode_cpu_s


@dataclass(frozen=True)
class Prices:
    """What a cluster is made of, and what it costs; money is in one currency.

    Attributes:
        cores: of a node.
        gpus: of a node; 0 for CPU nodes.
        node_h: a node for an hour.
        spot_h: the same, if it may be taken away.
        terabyte_month: object storage of 1 TB for a month.
        efficiency: share of a core's time that does useful work.
        lost: share of the work that is done twice, as nodes are taken away.
    """

    cores: int
    gpus: int
    node_h: float
    spot_h: float
    terabyte_month: float
    efficiency: float
    lost: float


@dataclass(frozen=True)
class Plan:
    """What some hours of video come to.

    Attributes:
        core_h, gpu_h: hours of cores and of GPUs.
        nodes: that meet the deadline.
        wall_h: how long they take.
        node_money, spot_money: what they cost.
        feature_bytes, index_bytes: what is kept.
        storage_money: for keeping the features for a month.
    """

    core_h: float
    gpu_h: float
    nodes: int
    wall_h: float
    node_money: float
    spot_money: float
    feature_bytes: float
    index_bytes: float
    storage_money: float


def cost_of(bench: Mapping[str, Any], gpu_clips: Mapping[str, float]) -> Cost:
    """The cost of an hour of video.

    Args:
        bench: what `vtg bench --json` printed.
        gpu_clips: clips per second of a GPU, by the name of features that it encodes.
    """
    scale = 3600 / bench["video"]["seconds"]
    encode_s = gpu_s = row_bytes = 0.0
    for encoder in bench["encoders"]:
        name = encoder["name"]
        rows = 3600 / clip_length_s(name, None)
        row_bytes += 2 * rows * video_feature(name).dim
        if name in gpu_clips:
            gpu_s += rows / gpu_clips[name]
        else:
            encode_s += encoder["cpu_s"] * scale
    name = bench["encoders"][0]["name"]
    index_bytes = 3600 / clip_length_s(name, None) * (2 * video_feature(name).dim + INDEX_BYTES)
    return Cost(bench["decoding"]["cpu_s"] * scale, encode_s, gpu_s, row_bytes, index_bytes)


def plan(hours: float, cost: Cost, prices: Prices, deadline_h: float, vectors_per_row: float) -> Plan:
    """What some hours of video take on a cluster that is done in time.

    Args:
        hours: of video.
        cost: of one of them.
        prices: of the cluster.
        deadline_h: hours until it has to be done.
        vectors_per_row: of the index of a library, which has one for each segment.
    """
    core_h = hours * cost.cpu_s / 3600 / prices.efficiency
    gpu_h = hours * cost.gpu_s / 3600
    node_h = core_h / prices.cores
    if cost.gpu_s:
        node_h = max(node_h, gpu_h / prices.gpus)  # the scarcer of the two sets the pace
    nodes = max(math.ceil(node_h / deadline_h), 1)
    feature_bytes = hours * cost.row_bytes
    return Plan(
        core_h=core_h,
        gpu_h=gpu_h,
        nodes=nodes,
        wall_h=node_h / nodes,
        node_money=node_h * prices.node_h,
        spot_money=node_h * (1 + prices.lost) * prices.spot_h,
        feature_bytes=feature_bytes,
        index_bytes=hours * cost.index_bytes * vectors_per_row,
        storage_money=feature_bytes / 1e12 * prices.terabyte_month,
    )


def main() -> None:
    """Print the cost of an hour, and of many."""
    arguments = _parser().parse_args()
    bench = json.loads(arguments.bench.read_text())
    gpu_clips = {
        name: float(count) for name, _, count in (one.rpartition("=") for one in arguments.gpu_clips)
    }
    cost = cost_of(bench, gpu_clips)
    prices = Prices(
        cores=arguments.cores,
        gpus=arguments.gpus if gpu_clips else 0,
        node_h=arguments.price,
        spot_h=arguments.spot,
        terabyte_month=arguments.storage_price,
        efficiency=arguments.efficiency,
        lost=arguments.lost,
    )
    names = " + ".join(encoder["name"] for encoder in bench["encoders"])
    machine, video = bench["machine"], bench["video"]
    print(f"{names}, {video['width']}×{video['height']} at {video['fps']:.0f} FPS, on {machine['cpu']}")
    print(
        f"an hour of video: {cost.decode_cpu_s:.0f} core s of decoding, {cost.encode_cpu_s:.0f} of encoding, "
        f"{cost.gpu_s:.1f} GPU s, {cost.row_bytes / 1e6:.2f} MB of rows"
    )
    print(
        f"a node: {prices.cores} cores, {prices.gpus} GPUs, {prices.node_h} an hour, {prices.spot_h} as a spot node\n"
    )
    headings = (
        "hours of video", "core hours", "GPU hours", "nodes", "hours", "cost", "on spot nodes", "features", "a month",
        "index",
    )  # fmt: skip
    rows = [
        _row(hours, plan(hours, cost, prices, arguments.deadline_h, arguments.vectors_per_row))
        for hours in map(float, arguments.hours.split(","))
    ]
    _print_table(headings, rows)


def _row(hours: float, one: Plan) -> tuple[str, ...]:
    return (
        f"{hours:,.0f}", f"{one.core_h:,.0f}", f"{one.gpu_h:,.0f}", f"{one.nodes:,}", f"{one.wall_h:.1f}",
        f"{one.node_money:,.0f}", f"{one.spot_money:,.0f}", _size(one.feature_bytes), f"{one.storage_money:,.2f}",
        _size(one.index_bytes),
    )  # fmt: skip


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e12:,.2f} TB" if size_bytes >= 1e12 else f"{size_bytes / 1e9:,.1f} GB"


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"| {' | '.join(headings)} |\n|{'---|' * len(headings)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("bench", type=Path, help="what `vtg bench --json` printed")
    add("--hours", default="1000,100000,1000000", help="hours of video, separated by commas")
    add("--deadline-h", type=float, default=72, help="hours until it has to be done")
    add("--cores", type=int, default=16, help="cores of a node")
    add("--gpus", type=int, default=1, help="GPUs of a node, with --gpu-clips")
    add(
        "--gpu-clips",
        nargs="*",
        default=[],
        metavar="NAME=N",
        help="features that GPUs encode, and clips a second",
    )
    add("--price", type=float, default=0.70, help="a node for an hour")
    add("--spot", type=float, default=0.25, help="a spot node for an hour")
    add("--storage-price", type=float, default=23.0, help="1 TB in object storage for a month")
    add("--efficiency", type=float, default=0.8, help="share of a core's time that does useful work")
    add("--lost", type=float, default=0.05, help="share of the work that is done twice on spot nodes")
    add(
        "--index-bytes",
        type=float,
        default=1109,
        help="bytes per vector of an index on disk (docs/search.md)",
    )
    add("--vectors-per-row", type=float, default=0.35, help="vectors of an index per row (docs/search.md)")
    return parser


if __name__ == "__main__":
    main()
