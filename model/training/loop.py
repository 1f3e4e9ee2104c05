"""The loop: AdamW over shuffled batches, an evaluation now and then, the best checkpoint kept (released recipe).

Devices, precision and several processes (`torchrun`, `accelerate launch`) are Accelerate's. Every epoch starts its
random numbers from the seed and its own number, and ends with all that the next one needs on disk: a run that was
killed and gone on with gives what an unbroken one gives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from extractors.errors import UsageError, VtgError
from extractors.features import FeatureSpec
from model.checkpoints.checkpoint import Checkpoint, feature_specs
from model.config import Config
from model.datasets.grounding import Batch, EpochBatches, GroundingDataset, collate
from model.losses import Criterion, LossTerms, negative_index
from model.network.flashvtg import FlashVTG, FlashVTGOutput
from model.training.evaluation import Evaluation, evaluate_model, require_selection, selection_score
from model.training.run import Progress, ResumeState, Run, RunError

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_RESUMABLE = ("epochs", "evaluate_every", "patience", "workers")


@dataclass(frozen=True)
class StepDone:
    """An optimizer step is done.

    Attributes:
        epoch: from 1.
        epochs: in all.
        step: from 1, within the epoch.
        steps: of an epoch.
        losses: means of the epoch so far, by name.
        memory_bytes: the most this process has held, of the GPU's memory where it trains on one.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    losses: Mapping[str, float]
    memory_bytes: int


@dataclass(frozen=True)
class EvaluationProgress:
    """Queries of the evaluation split done, and in all."""

    epoch: int
    done: int
    total: int


@dataclass(frozen=True)
class EpochDone:
    """An epoch is done, and on disk.

    Attributes:
        epoch: from 1.
        epochs: in all.
        losses: means over the epoch, by name.
        metrics: of moments as decoded; empty if the epoch was not evaluated.
        suppressed_metrics: the same after non-maximum suppression.
        score: mean of the selection metrics; None if the epoch was not evaluated.
        best_epoch: the best so far, this one included.
        seconds: wall time of the steps.
        evaluation_seconds: wall time of the evaluation.
    """

    epoch: int
    epochs: int
    losses: Mapping[str, float]
    metrics: Mapping[str, float]
    suppressed_metrics: Mapping[str, float]
    score: float | None
    best_epoch: int
    seconds: float
    evaluation_seconds: float


Event = StepDone | EvaluationProgress | EpochDone


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    Attributes:
        best_epoch: from 1.
        metrics: of the best epoch, as decoded.
        suppressed_metrics: of the best epoch, after non-maximum suppression.
        epochs: done in all.
        stopped_early: whether patience ran out.
    """

    best_epoch: int
    metrics: Mapping[str, float]
    suppressed_metrics: Mapping[str, float]
    epochs: int
    stopped_early: bool


def train(
    config: Config,
    train_set: GroundingDataset,
    eval_set: GroundingDataset,
    run: Run,
    *,
    specs: tuple[Sequence[FeatureSpec], FeatureSpec] | None = None,
    device: str = "auto",
    on_event: Callable[[Event], None] | None = None,
) -> TrainingResult:
    """Train FlashVTG, or go on with a run.

    Args:
        config: the experiment.
        train_set: what is learnt from; labelled.
        eval_set: what chooses the checkpoint.
        run: its folder, created; where epochs are in it, training goes on after them.
        specs: what the rows of videos and queries are, as far as it is known; kept in the checkpoints.
        device: `auto`, `cpu`, `cuda`, … as for encoders.
        on_event: called on this thread as things happen, in the main process alone.

    Raises:
        UsageError: if a split is too small for a batch, or the device is not there.
        RunError: if the folder holds a run of another configuration, or cannot be gone on with.
        VtgError: if a loss is not finite, or the evaluation split lacks the selection metrics.
    """
    specs = specs or feature_specs(config)
    return _Trainer(config, train_set, eval_set, run, specs, device, on_event or _ignore).run()


def continue_run(run: Run, config: Config) -> None:
    """Keep the configuration that a run goes on with; only how long to train may have changed.

    Raises:
        RunError: if anything else has.
    """
    before = run.config()
    fixed = {name: getattr(config.training, name) for name in _RESUMABLE}
    if replace(before, training=replace(before.training, **fixed)) != config:
        raise RunError(
            f"{run.folder}: its configuration is another one; only training.{', training.'.join(_RESUMABLE)} can be "
            "changed when a run is gone on with"
        )
    if before != config:
        run.write_config(config)


def agreed_folder(folder: Path, config: Config, device: str) -> Path:
    """The main process's choice of a folder, in every process.

    Args:
        folder: this process's choice.
        config: what will be trained.
        device: where.
    """
    return Path(_agreed(_accelerator(config, device), str(folder)))


class _Trainer:
    def __init__(
        self,
        config: Config,
        train_set: GroundingDataset,
        eval_set: GroundingDataset,
        run: Run,
        specs: tuple[Sequence[FeatureSpec], FeatureSpec],
        device: str,
        on_event: Callable[[Event], None],
    ) -> None:
        self._specs = specs
        self._accelerator = _accelerator(config, device)
        self._accelerator.wait_for_everyone()  # the first process makes the folder
        self._provenance = {"run": run.folder.name, "seed": str(config.training.seed)}
        if config.data.window_clips is None and config.data.max_clips is None:
            self._provenance["longest_clips"] = str(train_set.longest_clips())
        if domain := run.inputs().get("domain"):
            self._provenance["domain"] = str(domain)
        self._config = config
        self._eval_set = eval_set
        self._run = run
        self._on_event = on_event
        self._criterion = Criterion(config)

        training = config.training
        torch.manual_seed(training.seed)
        network = FlashVTG(config.model)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        self._batches_of = EpochBatches(
            [annotation.duration_s for annotation in train_set.annotations], training
        )
        loader: DataLoader[Any] = DataLoader(
            train_set,
            batch_sampler=self._batches_of,
            # Kernels of half precision are made for each shape anew, and like multiples of eight.
            collate_fn=collate if training.precision == "fp32" else partial(collate, multiple=8),
            num_workers=training.workers,
            pin_memory=self._accelerator.device.type == "cuda",
        )
        self._progress = Progress()
        state = run.read_state()
        self._log = run.log()[: state.progress.epoch if state else 0]
        if state is not None:
            continue_run(run, config)
            self._progress = state.progress
            _restore(network, optimizer, state, run)
        else:
            run.write_config(config)
        self._names = {id(parameter): name for name, parameter in network.named_parameters()}
        self._network, self._optimizer, self._loader = self._accelerator.prepare(network, optimizer, loader)
        if self._accelerator.scaler is not None and self._progress.scaler:
            self._accelerator.scaler.load_state_dict(dict(self._progress.scaler))
        require_selection(eval_set.annotations, config)
        if len(self._loader) == 0:
            raise UsageError(
                f"training.batch_size: a batch of {training.batch_size} is more than all samples, of which there "
                f"{'is' if len(train_set) == 1 else 'are'} {len(train_set)}; make it smaller, or "
                "set training.drop_last=false"
            )

    def run(self) -> TrainingResult:
        training = self._config.training
        with _Curves(self._run, self._accelerator.is_main_process, self._progress.epoch) as curves:
            while self._progress.epoch < training.epochs and not self._out_of_patience:
                epoch = self._progress.epoch + 1
                start_s = time.perf_counter()
                losses = self._epoch(epoch)
                seconds = time.perf_counter() - start_s
                event = self._finish(epoch, losses, seconds)
                if event is not None:
                    curves.write(event)
                    self._on_event(event)
                self._accelerator.wait_for_everyone()
        return self._result()

    @property
    def _out_of_patience(self) -> bool:
        patience = self._config.training.patience
        return patience is not None and self._progress.stale >= patience

    def _epoch(self, epoch: int) -> dict[str, float]:
        """Means of the losses over an epoch of steps."""
        training, accelerator = self._config.training, self._accelerator
        # A process of its own seed each, so that no two drop the same units.
        torch.manual_seed((training.seed * 100_003 + epoch) * 1_009 + accelerator.process_index)
        self._batches_of.epoch = epoch
        self._network.train()
        sums: dict[str, Tensor] = {}
        steps = len(self._loader)
        step = 0
        for step, batch in enumerate(self._batches(), start=1):
            terms = self._step(batch)
            for name, value in _values(terms):
                sums[name] = sums[name] + value if name in sums else value
            # Reading a number waits for a GPU, so not at every step.
            due = step % 10 == 0 or step == steps or accelerator.device.type == "cpu"
            if due and accelerator.is_main_process:
                means = {name: float(value) / step for name, value in sums.items()}
                _require_finite(means, epoch, step)
                self._on_event(StepDone(epoch, training.epochs, step, steps, means, self._memory_bytes()))
        self._progress = replace(self._progress, step=self._progress.step + step)
        means = {name: float(value) / step for name, value in sums.items()}
        _require_finite(means, epoch, step)
        return means

    def _batches(self) -> Iterator[Batch]:
        device = self._accelerator.device
        for batch in self._loader:
            yield batch if batch.video.device == device else batch.to(device, non_blocking=True)

    def _step(self, batch: Batch) -> LossTerms:
        training, accelerator = self._config.training, self._accelerator
        negatives = None
        if training.negatives:
            vids = [annotation.vid for annotation in batch.annotations]
            negatives = negative_index(vids, training.negative_identity)
        assert batch.targets is not None, "the training split is labelled"
        output = self._network(
            batch.video,
            batch.video_mask,
            batch.text,
            batch.text_mask,
            negatives=None if negatives is None else negatives.to(batch.video.device),
        )
        terms = self._criterion(_measurable(output), batch.targets)
        self._optimizer.zero_grad()
        accelerator.backward(terms.total)
        if training.gradient_clip:
            accelerator.clip_grad_norm_(self._network.parameters(), training.gradient_clip)
        self._optimizer.step()
        return terms

    def _finish(self, epoch: int, losses: dict[str, float], seconds: float) -> EpochDone | None:
        """Evaluate if it is time, and put the epoch on disk; only the main process does."""
        training = self._config.training
        evaluation: Evaluation | None = None
        score: float | None = None
        start_s = time.perf_counter()
        network = self._accelerator.unwrap_model(self._network)
        due = epoch % training.evaluate_every == 0 or epoch == training.epochs
        if due and self._accelerator.is_main_process:
            evaluation = evaluate_model(
                self._in_full_precision(network),
                self._eval_set,
                device=self._accelerator.device,
                on_progress=lambda done, total: self._on_event(EvaluationProgress(epoch, done, total)),
            )
            score = selection_score(evaluation.metrics, self._config)
        score = _agreed(self._accelerator, score)
        progress = replace(self._progress, epoch=epoch)
        is_best = score is not None and (progress.best_score is None or score > progress.best_score)
        if is_best:
            progress = replace(progress, best_score=score, best_epoch=epoch, stale=0)
        elif score is not None:
            progress = replace(progress, stale=progress.stale + 1)
        if self._accelerator.scaler is not None:
            progress = replace(progress, scaler=self._accelerator.scaler.state_dict())
        self._progress = progress
        if not self._accelerator.is_main_process:
            return None

        event = EpochDone(
            epoch=epoch,
            epochs=training.epochs,
            losses=losses,
            metrics=evaluation.metrics if evaluation else {},
            suppressed_metrics=evaluation.suppressed_metrics if evaluation else {},
            score=score,
            best_epoch=progress.best_epoch,
            seconds=seconds,
            evaluation_seconds=time.perf_counter() - start_s,
        )
        checkpoint = self._checkpoint(network, event)
        if evaluation is not None and is_best:
            metrics = {
                "epoch": epoch,
                "decoded": evaluation.metrics,
                "suppressed": evaluation.suppressed_metrics,
            }
            self._run.write_best(checkpoint, evaluation.suppressed, metrics)
        self._log.append({entry.name: getattr(event, entry.name) for entry in fields(event)})
        self._run.write_log(self._log)
        self._run.write_last(checkpoint, ResumeState(progress, checkpoint.weights, self._moments()))
        return event

    def _in_full_precision(self, network: FlashVTG) -> FlashVTG:
        """The network without Accelerate's autocast, on the same weights: scores are those of `vtg eval`."""
        if self._config.training.precision == "fp32":
            return network
        with torch.device("meta"):
            plain = FlashVTG(self._config.model)
        plain.load_state_dict(network.state_dict(), assign=True)
        return plain

    def _checkpoint(self, network: FlashVTG, event: EpochDone) -> Checkpoint:
        video_features, text_features = self._specs
        return Checkpoint(
            self._config,
            tuple(video_features),
            text_features,
            {name: value.detach() for name, value in network.state_dict().items()},
            self._provenance | {"epoch": str(event.epoch)},
            dict(event.metrics),
        )

    def _moments(self) -> dict[str, dict[str, Tensor]]:
        """The optimizer's state by kind and parameter name."""
        moments: dict[str, dict[str, Tensor]] = {kind: {} for kind in _MOMENTS}
        for parameter, state in self._optimizer.state.items():
            for kind in _MOMENTS:
                moments[kind][self._names[id(parameter)]] = state[kind]
        return moments

    def _memory_bytes(self) -> int:
        if self._accelerator.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._accelerator.device)
        import psutil

        return int(psutil.Process().memory_info().rss)

    def _result(self) -> TrainingResult:
        best = self._progress.best_epoch
        row = next((row for row in self._log if row["epoch"] == best), {})
        return TrainingResult(
            best_epoch=best,
            metrics=row.get("metrics", {}),
            suppressed_metrics=row.get("suppressed_metrics", {}),
            epochs=self._progress.epoch,
            stopped_early=self._progress.epoch < self._config.training.epochs,
        )


class _Curves:
    """Losses and metrics for TensorBoard."""

    def __init__(self, run: Run, enabled: bool, epoch: int) -> None:
        self._writer: Any = None
        if enabled:
            from tensorboardX import SummaryWriter

            # What an interrupted epoch left behind is not shown.
            self._writer = SummaryWriter(str(run.tensorboard), purge_step=epoch + 1)

    def __enter__(self) -> _Curves:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def write(self, event: EpochDone) -> None:
        groups = {
            "loss": event.losses,
            "metrics": event.metrics,
            "metrics after suppression": event.suppressed_metrics,
            "seconds": {"steps": event.seconds, "evaluation": event.evaluation_seconds},
        }
        for group, values in groups.items():
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, event.epoch)
        self._writer.flush()


def _accelerator(config: Config, device: str) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    from extractors.compute.device import resolve_device

    # Kept for the whole process, it would hold on to the device and the precision of the run before.
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    AcceleratorState._reset_state(reset_partial_state=not several)
    kind = resolve_device(device).type
    precision = config.training.precision
    return Accelerator(
        cpu=kind == "cpu",
        mixed_precision="no" if precision == "fp32" else precision,
        kwargs_handlers=[
            # Without moments to regress, the boundary head takes no part.
            DistributedDataParallelKwargs(find_unused_parameters=not config.data.annotates_moments)
        ],
    )


def _agreed(accelerator: Accelerator, value: T) -> T:
    """The main process's value, in every process."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    shared: T = broadcast_object_list([value])[0]
    return shared


def _restore(network: FlashVTG, optimizer: torch.optim.Optimizer, state: ResumeState, run: Run) -> None:
    try:
        network.load_state_dict(state.weights)
    except RuntimeError as error:
        raise RunError(f"{run.folder}: its weights are of another network ({error})") from error
    for name, parameter in network.named_parameters():
        if name in state.moments.get(_MOMENTS[0], {}):
            optimizer.state[parameter] = {kind: state.moments[kind][name] for kind in _MOMENTS}


def _measurable(output: FlashVTGOutput) -> FlashVTGOutput:
    """Attention that is no number any more is made one.

    Its cross-entropy refuses it, on a GPU by ending the process; the other terms are no numbers either, and tell.
    """
    negatives = output.negatives
    if negatives is not None:
        negatives = replace(negatives, engagement=negatives.engagement.nan_to_num(0.5))
    return replace(output, engagement=output.engagement.nan_to_num(0.5), negatives=negatives)


def _values(terms: LossTerms) -> Iterator[tuple[str, Tensor]]:
    for entry in fields(terms):
        yield entry.name, getattr(terms, entry.name).detach()


def _require_finite(losses: Mapping[str, float], epoch: int, step: int) -> None:
    wrong = [name for name, value in losses.items() if not math.isfinite(value)]
    if wrong:
        raise VtgError(
            f"epoch {epoch}, step {step}: the loss is not a finite number any more ({', '.join(wrong)}); "
            "lower training.learning_rate, or set training.precision=fp32. The run can be gone on with from its "
            "last whole epoch"
        )


def _ignore(event: Event) -> None:
    pass
