"""The training loop of the released recipe: AdamW over shuffled batches, regular evaluation, the best checkpoint kept.

Accelerate handles devices, precision and multiple processes (`torchrun`, `accelerate launch`). The random
numbers of an epoch depend only on the seed and the epoch, and everything that the next epoch needs is written
to disk at its end. So a run that was killed and resumed ends with the same weights as an uninterrupted one.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from extractors.errors import UsageError, VtgError
from extractors.features import FeatureSpec
from model.checkpoints.checkpoint import Checkpoint, feature_specs
from model.config import Config
from model.datasets.grounding import Batch, EpochBatches, GroundingDataset, JoinedDataset, collate
from model.losses import Criterion, LossTerms, foreign_pairs, negative_index
from model.metrics.existence import auroc, threshold_for
from model.network.flashvtg import AbsentPairs, FlashVTG, FlashVTGOutput
from model.training.averaging import AveragedWeights
from model.training.curves import Curves
from model.training.data.absent import AbsentBatches
from model.training.devices import accelerator, agreed
from model.training.evaluation import Evaluation, evaluate_model, require_selection, selection_score
from model.training.events import EpochDone, EvaluationProgress, Event, StepDone, TrainingResult
from model.training.run import Progress, ResumeState, Run, RunError
from model.training.schedule import learning_rate

if TYPE_CHECKING:
    from accelerate import Accelerator

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_OWN_GRADIENTS = ("existence.", "alignment.")
_TELLS = 0.75  # AUROC from which existence counts as learned
_RESUMABLE = ("epochs", "evaluate_every", "patience", "workers")


def train(
    config: Config,
    train_set: GroundingDataset,
    eval_set: GroundingDataset,
    run: Run,
    *,
    negatives: GroundingDataset | None = None,
    unlabelled: GroundingDataset | None = None,
    specs: tuple[Sequence[FeatureSpec], FeatureSpec] | None = None,
    device: str = "auto",
    on_event: Callable[[Event], None] | None = None,
) -> TrainingResult:
    """Train FlashVTG, or resume a run.

    Args:
        config: the experiment.
        train_set: the labelled samples to train on.
        eval_set: the samples on which the checkpoint is chosen.
        run: its folder, created; if it contains epochs, training resumes after them.
        negatives: those from the file that `training.negatives` names, unlabelled; None if it names none.
        unlabelled: pseudo-labels of unlabelled videos, for the first `pretraining.epochs`; None if that is 0.
        specs: specifications of the video and query rows, as far as known; stored in the checkpoints.
        device: `auto`, `cpu`, `cuda`, … as for encoders.
        on_event: called on this thread with each event, in the main process only.

    Raises:
        ValueError: if there are negatives but the configuration names no file of them, or vice versa;
            likewise for pseudo-labels and the epochs that learn from them.
        UsageError: if a split is too small for a batch, or the device is not available.
        RunError: if the folder contains a run of another configuration, or the run cannot be resumed.
        VtgError: if a loss is not finite, or the evaluation split lacks the selection metrics.
    """
    if (negatives is None) != (config.training.negatives_file is None):
        raise ValueError("negatives go with a configuration that names a file of them")
    if (unlabelled is None) != (config.pretraining.epochs == 0):
        raise ValueError("pseudo-labels go with a configuration of which some epochs learn from them")
    learnt: GroundingDataset | JoinedDataset = (
        train_set if unlabelled is None else JoinedDataset(train_set, unlabelled)
    )
    early = 0 if unlabelled is None else len(unlabelled)
    specs = specs or feature_specs(config)
    on_event = on_event or (lambda event: None)
    with accelerator(config, device) as process:
        return _Trainer(config, learnt, early, eval_set, negatives, run, specs, process, on_event).run()


def continue_run(run: Run, config: Config) -> None:
    """Store the configuration of a resumed run; only the fields in `_RESUMABLE` may have changed.

    Raises:
        RunError: if anything else has changed.
    """
    before = run.config()
    # Settings that count back from the last epoch would have started at a different epoch.
    from_the_end = before.training.decay_epochs or before.training.unmixed_epochs
    free = [name for name in _RESUMABLE if name != "epochs" or not from_the_end]
    fixed = {name: getattr(config.training, name) for name in free}
    if replace(before, training=replace(before.training, **fixed)) != config:
        raise RunError(
            f"{run.folder}: its configuration differs; only training.{', training.'.join(free)} can be "
            "changed when a run is resumed"
        )
    if before != config:
        run.write_config(config)


def agreed_folder(folder: Path, config: Config, device: str) -> Path:
    """Return the main process's choice of a folder in every process.

    Args:
        folder: this process's choice.
        config: the experiment.
        device: where it will be trained.
    """
    with accelerator(config, device) as process:
        return Path(agreed(process, str(folder)))


class _Trainer:
    """The training of one run: steps, evaluations and checkpoints."""

    def __init__(
        self,
        config: Config,
        train_set: GroundingDataset | JoinedDataset,
        early: int,
        eval_set: GroundingDataset,
        negatives: GroundingDataset | None,
        run: Run,
        specs: tuple[Sequence[FeatureSpec], FeatureSpec],
        process: Accelerator,
        on_event: Callable[[Event], None],
    ) -> None:
        self._config = config
        self._eval_set = eval_set
        self._on_event = on_event
        self._process = process
        self._process.wait_for_everyone()  # the first process creates the folder
        self._criterion = Criterion(config)

        training = config.training
        torch.manual_seed(training.seed)
        self._absent = (
            None if negatives is None else AbsentBatches(negatives, training.batch_size, training.seed)
        )
        network = FlashVTG(config.model)
        # The gradients of these heads have their own scale, which must not affect the clipping of the others.
        self._clipped = [
            value for name, value in network.named_parameters() if not name.startswith(_OWN_GRADIENTS)
        ]
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        self._batches_of = EpochBatches(
            [annotation.duration_s for annotation in train_set.annotations],
            training,
            early=early,
            early_epochs=config.pretraining.epochs,
        )
        loader: DataLoader[Any] = DataLoader(
            train_set,
            batch_sampler=self._batches_of,
            # Half-precision kernels are compiled for each shape, and are fastest for multiples of eight.
            collate_fn=collate if training.precision == "fp32" else partial(collate, multiple=8),
            num_workers=training.workers,
            pin_memory=self._process.device.type == "cuda",
        )
        state = run.read_state()
        self._progress = Progress() if state is None else state.progress
        if state is not None:
            continue_run(run, config)
            _restore(network, optimizer, state, run)
        else:
            run.write_config(config)
        unlimited = config.data.window_clips is None and config.data.max_clips is None
        longest = train_set.longest_clips() if unlimited else None
        self._record = _Record(config, run, specs, network, self._progress.epoch, longest)
        self._network, self._optimizer, self._loader = self._process.prepare(network, optimizer, loader)
        self._averaged = None
        if training.average_decay:
            self._averaged = AveragedWeights(
                self._process.unwrap_model(self._network),
                training.average_decay,
                steps=self._progress.step,
                weights=state.averages if state is not None else None,
            )
        if self._process.scaler is not None and self._progress.scaler:
            self._process.scaler.load_state_dict(dict(self._progress.scaler))
        require_selection(eval_set.annotations, config)
        self._batches_of.epoch = training.epochs  # the one with the fewest samples
        if len(self._loader) == 0:
            count = len(train_set) - (early if config.pretraining.epochs < training.epochs else 0)
            raise UsageError(
                f"training.batch_size: a batch of {training.batch_size} is more than all samples, of which there "
                f"{'is' if count == 1 else 'are'} {count}; make it smaller, or set training.drop_last=false"
            )

    def run(self) -> TrainingResult:
        """Train until the last epoch, or until patience runs out."""
        training = self._config.training
        with Curves(self._record.run, self._process.is_main_process, self._progress.epoch) as curves:
            while self._progress.epoch < training.epochs and not self._out_of_patience:
                epoch = self._progress.epoch + 1
                start_s = time.perf_counter()
                losses = self._epoch(epoch)
                event = self._finish(epoch, losses, time.perf_counter() - start_s)
                if event is not None:
                    curves.write(event)
                    self._on_event(event)
                self._process.wait_for_everyone()
        return self._record.result(self._progress)

    @property
    def _out_of_patience(self) -> bool:
        patience = self._config.training.patience
        return patience is not None and self._progress.stale >= patience

    def _epoch(self, epoch: int) -> dict[str, float]:
        """Train for one epoch and return the means of the losses."""
        training, process = self._config.training, self._process
        # Each process has its own seed, so that dropout differs between processes.
        torch.manual_seed((training.seed * 100_003 + epoch) * 1_009 + process.process_index)
        self._batches_of.epoch = epoch
        self._network.train()
        sums: dict[str, Tensor] = {}
        steps = len(self._loader)
        step = 0
        absent = self._absent_pairs(epoch)
        for step, batch in enumerate(self._batches(), start=1):
            self._set_rate(epoch, step, steps)
            terms = self._step(batch, next(absent))
            for name, value in _values(terms):
                sums[name] = sums[name] + value if name in sums else value
            # Reading a loss waits for the GPU, so it is not done at every step.
            due = step % 10 == 0 or step == steps or process.device.type == "cpu"
            if due and process.is_main_process:
                means = {name: float(value) / step for name, value in sums.items()}
                _require_finite(means, epoch, step)
                self._on_event(StepDone(epoch, training.epochs, step, steps, means, self._memory_bytes()))
        self._progress = replace(self._progress, step=self._progress.step + step)
        means = {name: float(value) / step for name, value in sums.items()}
        _require_finite(means, epoch, step)
        return means

    def _batches(self) -> Iterator[Batch]:
        device = self._process.device
        for batch in self._loader:
            yield batch if batch.video.device == device else batch.to(device, non_blocking=True)

    def _absent_pairs(self, epoch: int) -> Iterator[AbsentPairs | None]:
        if self._absent is None:
            return itertools.repeat(None)
        batches = self._absent.of_epoch(epoch, self._process.process_index)
        return (pairs.to(self._process.device) for pairs in batches)

    def _step(self, batch: Batch, absent: AbsentPairs | None) -> LossTerms:
        training = self._config.training
        negatives = foreign = None
        if training.negatives:
            vids = [annotation.vid for annotation in batch.annotations]
            negatives = negative_index(vids, training.negative_identity)
            foreign = foreign_pairs(vids, training.negative_identity)
        assert batch.targets is not None, "the training split is labelled"
        output = self._network(
            batch.video,
            batch.video_mask,
            batch.text,
            batch.text_mask,
            negatives=None if negatives is None else negatives.to(batch.video.device),
            absent=absent,
        )
        terms = self._criterion(_measurable(output), batch.targets, foreign)
        self._optimizer.zero_grad()
        self._process.backward(terms.total)
        if training.gradient_clip:
            self._process.clip_grad_norm_(self._clipped, training.gradient_clip)
        self._optimizer.step()
        if self._averaged is not None:
            self._averaged.update(self._process.unwrap_model(self._network))
        return terms

    def _set_rate(self, epoch: int, step: int, steps: int) -> None:
        before = self._progress.step + step - 1
        rate = learning_rate(self._config.training, epoch=epoch, step=step, steps=steps, before=before)
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def _finish(self, epoch: int, losses: dict[str, float], seconds: float) -> EpochDone | None:
        """Evaluate if it is due, and write the epoch to disk, both in the main process only."""
        start_s = time.perf_counter()
        network = self._process.unwrap_model(self._network)
        kept = network if self._averaged is None else self._averaged.network()
        evaluation = self._evaluate(kept, epoch)
        score = selection_score(evaluation.metrics, self._config) if evaluation else None
        progress = self._progress.after(epoch, agreed(self._process, score))
        if self._process.scaler is not None:
            progress = replace(progress, scaler=self._process.scaler.state_dict())
        self._progress = progress
        if not self._process.is_main_process:
            return None
        event = EpochDone(
            epoch=epoch,
            epochs=self._config.training.epochs,
            losses=losses,
            metrics=evaluation.metrics if evaluation else {},
            suppressed_metrics=evaluation.suppressed_metrics if evaluation else {},
            score=score,
            best_epoch=progress.best_epoch,
            seconds=seconds,
            evaluation_seconds=time.perf_counter() - start_s,
        )
        self._record.write(event, evaluation, kept, network, self._optimizer, progress)
        return event

    def _evaluate(self, network: FlashVTG, epoch: int) -> Evaluation | None:
        """Evaluate the network if it is due, in the main process only."""
        training = self._config.training
        due = epoch % training.evaluate_every == 0 or epoch == training.epochs
        if not due or not self._process.is_main_process:
            return None
        if training.precision != "fp32":
            # Without Accelerate's autocast, on the same weights, so that scores equal those of `vtg eval`.
            with torch.device("meta"):
                plain = FlashVTG(self._config.model)
            plain.load_state_dict(network.state_dict(), assign=True)
            network = plain
        return evaluate_model(
            network,
            self._eval_set,
            device=self._process.device,
            foreign=True,
            on_progress=lambda done, total: self._on_event(EvaluationProgress(epoch, done, total)),
        )

    def _memory_bytes(self) -> int:
        if self._process.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._process.device)
        import psutil

        return int(psutil.Process().memory_info().rss)


class _Record:
    """The files of a run: checkpoints, the log, and the state that training resumes from."""

    def __init__(
        self,
        config: Config,
        run: Run,
        specs: tuple[Sequence[FeatureSpec], FeatureSpec],
        network: FlashVTG,
        epoch: int,
        longest_clips: int | None,
    ) -> None:
        self.run = run
        self._config = config
        self._specs = specs
        self._names = {id(parameter): name for name, parameter in network.named_parameters()}
        self._log = run.log()[:epoch]
        self._provenance = {"run": run.folder.name, "seed": str(config.training.seed)}
        if longest_clips is not None:
            self._provenance["longest_clips"] = str(longest_clips)
        if domain := run.inputs().get("domain"):
            self._provenance["domain"] = str(domain)
        if begun := run.fine_tuned():
            self._provenance["fine_tuned_from"] = str(begun.get("model"))

    def write(
        self,
        event: EpochDone,
        evaluation: Evaluation | None,
        kept: FlashVTG,
        network: FlashVTG,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
    ) -> None:
        """Store an epoch; the state to resume from is written last.

        Args:
            event: the results of the epoch.
            evaluation: of the kept network; None if no evaluation was due.
            kept: the network for the checkpoints: the trained one, or the average of its weights.
            network: the trained network.
            optimizer: its moments are stored.
            progress: the progress including this epoch.
        """
        video_features, text_features = self._specs
        weights, newest = (
            {name: value.detach() for name, value in one.state_dict().items()} for one in (kept, network)
        )
        provenance = self._provenance | {"epoch": str(event.epoch)}
        verdicts = _verdicts(evaluation)
        checkpoint = Checkpoint(
            self._config,
            tuple(video_features),
            text_features,
            weights,
            provenance,
            dict(event.metrics),
            verdicts.get("clear_from"),
        )
        if evaluation is not None and event.best_epoch == event.epoch:
            scores = {"decoded": evaluation.metrics, "suppressed": evaluation.suppressed_metrics}
            if verdicts:
                scores["existence"] = verdicts
            self.run.write_best(checkpoint, evaluation.suppressed, {"epoch": event.epoch, **scores})
        self._log.append({entry.name: getattr(event, entry.name) for entry in fields(event)})
        self.run.write_log(self._log)
        moments = {
            kind: {self._names[id(parameter)]: state[kind] for parameter, state in optimizer.state.items()}
            for kind in _MOMENTS
        }
        averages = {} if kept is network else weights
        self.run.write_last(checkpoint, ResumeState(progress, newest, moments, averages))

    def result(self, progress: Progress) -> TrainingResult:
        """Return the result of the run."""
        row = next((row for row in self._log if row["epoch"] == progress.best_epoch), {})
        return TrainingResult(
            best_epoch=progress.best_epoch,
            metrics=row.get("metrics", {}),
            suppressed_metrics=row.get("suppressed_metrics", {}),
            epochs=progress.epoch,
            stopped_early=progress.epoch < self._config.training.epochs,
        )


def _restore(network: FlashVTG, optimizer: torch.optim.Optimizer, state: ResumeState, run: Run) -> None:
    try:
        network.load_state_dict(state.weights)
    except RuntimeError as error:
        raise RunError(f"{run.folder}: its weights are of another network ({error})") from error
    for name, parameter in network.named_parameters():
        if name in state.moments.get(_MOMENTS[0], {}):
            optimizer.state[parameter] = {kind: state.moments[kind][name] for kind in _MOMENTS}


def _verdicts(evaluation: Evaluation | None) -> dict[str, float]:
    """Return the metrics of the existence head, and its threshold; empty if there are no foreign scores.

    A head that separates poorly would withhold correct answers, so it gets no threshold.
    """
    if evaluation is None or not evaluation.foreign_scores:
        return {}
    own, foreign = np.array(evaluation.match_scores), np.array(evaluation.foreign_scores)
    area = auroc(own, foreign)
    if area < _TELLS:
        return {"auroc": area}
    clear_from = threshold_for(foreign)
    return {
        "auroc": area,
        "clear_from": clear_from,
        "found_clear": float(np.mean(own >= clear_from)),
        "false_clear": float(np.mean(foreign >= clear_from)),
    }


def _measurable(output: FlashVTGOutput) -> FlashVTGOutput:
    """Replace NaN in the attention by numbers.

    Its cross-entropy does not accept NaN and on a GPU ends the process. The error is still reported, because
    the other loss terms are NaN, too.
    """
    negatives = output.negatives
    if negatives is not None:
        negatives = replace(negatives, engagement=negatives.engagement.nan_to_num(0.5))
    return replace(output, engagement=output.engagement.nan_to_num(0.5), negatives=negatives)


def _values(terms: LossTerms) -> Iterator[tuple[str, Tensor]]:
    for entry in fields(terms):
        value: Tensor | None = getattr(terms, entry.name)
        if value is not None:
            yield entry.name, value.detach()


def _require_finite(losses: Mapping[str, float], epoch: int, step: int) -> None:
    wrong = [name for name, value in losses.items() if not math.isfinite(value)]
    if wrong:
        raise VtgError(
            f"epoch {epoch}, step {step}: the loss is not a finite number any more ({', '.join(wrong)}); "
            "lower training.learning_rate, or set training.precision=fp32. The run can be resumed from its "
            "last whole epoch"
        )
