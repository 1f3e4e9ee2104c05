"""Time FlashVTG: a training step, and inference with decoding and NMS.

    python benchmarks/model.py [--train] [--infer] [--device cpu|cuda] [--repeats 5] [--threads N]

Random features in the shapes of QVHighlights, SlowFast and CLIP. On a 2-core machine the released code takes
2.16 s for a step of the same shape, and 25.7 ms for a query with NMS at batch 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.config import load_config
from model.decoding import predict
from model.losses import Criterion, Targets
from model.network.flashvtg import FlashVTG
from model.rows import append_tef

_RELEASED_STEP_S = 2.16
_RELEASED_QUERY_S = 0.0257
_CONFIG = load_config("qvhighlights-slowfast-clip")


def main() -> None:
    """Run what was asked for, or everything, on each device at hand."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", action="store_true", help="only training steps")
    parser.add_argument("--infer", action="store_true", help="only inference")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="only on this one")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    everything = not (arguments.train or arguments.infer)
    devices = [arguments.device] if arguments.device else ["cpu"] + ["cuda"] * torch.cuda.is_available()
    for name in devices:
        device = torch.device(name)
        label = torch.cuda.get_device_name() if name == "cuda" else f"CPU, {arguments.threads} threads"
        print(f"\n{label}, torch {torch.__version__}")
        print(f"{'':34}{'ms':>10}{'CPU ms':>10}{'samples/s':>12}{'released':>10}")
        if arguments.train or everything:
            _time_training(device, arguments.repeats)
        if arguments.infer or everything:
            _time_inference(device, arguments.repeats)


def _time_training(
    device: torch.device, repeats: int, batch: int = 32, clips: int = 75, words: int = 32
) -> None:
    """One step: forward with negatives, losses, backward, clipping, AdamW; dropout on."""
    torch.manual_seed(0)
    model = FlashVTG(_CONFIG.model).to(device).train()
    criterion = Criterion(_CONFIG)
    recipe = _CONFIG.training
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    inputs = _random_batch(batch, clips, words, device)
    negatives = torch.arange(batch, device=device)
    starts = torch.rand(batch, 1, device=device) * clips
    targets = Targets(
        torch.randint(0, 13, (batch, clips), device=device).float(),
        torch.randint(0, clips, (batch, 2), device=device),
        torch.randint(0, clips, (batch, 2), device=device),
        torch.stack([starts, starts + 30], dim=-1),
    )

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(*inputs, negatives=negatives), targets).total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
        optimizer.step()

    _report(
        f"step, batch {batch} × {clips} × {words}", step, batch, repeats, device, _RELEASED_STEP_S / batch
    )


def _time_inference(device: torch.device, repeats: int, words: int = 32) -> None:
    """Outputs to ranked moments, with NMS."""
    torch.manual_seed(0)
    model = FlashVTG(_CONFIG.model).to(device).eval()
    for clips in (75, 600):
        for batch in (1, 16, 64):
            inputs = _random_batch(batch, clips, words, device)
            _report(
                f"inference, batch {batch} × {clips} × {words}",
                lambda inputs=inputs: predict(model, *inputs, config=_CONFIG),  # type: ignore[misc]
                batch,
                repeats,
                device,
                _RELEASED_QUERY_S if clips == 75 else None,
            )


def _random_batch(batch: int, clips: int, words: int, device: torch.device) -> tuple[torch.Tensor, ...]:
    video = torch.nn.functional.normalize(torch.randn(batch, clips, _CONFIG.model.video_dim), dim=-1)
    text = torch.nn.functional.normalize(torch.randn(batch, words, _CONFIG.model.text_dim), dim=-1)
    video_mask, text_mask = torch.ones(batch, clips), torch.ones(batch, words)
    tensors = (append_tef(video, video_mask), video_mask, text, text_mask)
    return tuple(tensor.to(device) for tensor in tensors)


def _report(
    label: str,
    work: Callable[[], object],
    samples: int,
    repeats: int,
    device: torch.device,
    released_s: float | None,
) -> None:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(2):
        work()
    wall, cpu = [], []
    for _ in range(repeats):
        wait()
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        work()
        wait()
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
    middle = statistics.median(wall)
    ratio = (
        f"{released_s * samples / middle:9.1f}×" if released_s is not None and device.type == "cpu" else ""
    )
    print(
        f"{label:34}{middle * 1e3:10.1f}{statistics.median(cpu) * 1e3:10.1f}{samples / middle:12.1f}{ratio:>10}"
    )


if __name__ == "__main__":
    main()
