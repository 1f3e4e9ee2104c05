"""Progress of training on standard error: one bar for the run, one line per epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vtg_cli.terminal.console import err, printable, verbosity
from vtg_cli.terminal.progress import Display

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from model.training.events import EpochDone, Event, StepDone


class TrainingProgress(Display):
    """Shows a run: losses, metric, time left, memory. Call it with each event.

    On a terminal a bar moves below the epochs' lines; elsewhere the lines alone are written.
    """

    def __init__(self) -> None:
        super().__init__()
        self._task: TaskID | None = None
        self._status = ""
        self._label = ""
        self._best: tuple[int, float] | None = None

    def begin(self, label: str) -> None:
        """The training of a model begins: of a domain, or of the only one."""
        self._stop()
        self._task, self._best, self._label = None, None, f"{printable(label)} " if label else ""

    def __call__(self, event: Event) -> None:
        from model.training.events import EpochDone, EvaluationProgress, StepDone

        match event:
            case StepDone():
                self._step(event)
            case EvaluationProgress() if self._progress is not None and self._task is not None:
                done = f"evaluating {event.done}/{event.total}"
                self._progress.update(self._task, status=done)
            case EpochDone():
                self._epoch(event)

    def _step(self, event: StepDone) -> None:
        progress = self._progress or self._start_run(event)
        assert self._task is not None, "a started display has its task"
        best = f" · best {self._best[1]:.2f} (epoch {self._best[0]})" if self._best else ""
        progress.update(
            self._task,
            description=f"{self._label}epoch {event.epoch}/{event.epochs}",
            completed=(event.epoch - 1) * event.steps + event.step,
            status=f"loss {event.losses['total']:.3f}{best} · {event.memory_bytes / 1e9:.1f} GB",
        )

    def _start_run(self, event: StepDone) -> Progress:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

        progress = self._start(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
        )
        self._task = progress.add_task(
            "training",
            total=event.epochs * event.steps,
            completed=(event.epoch - 1) * event.steps,
            status="",
        )
        return progress

    def _epoch(self, event: EpochDone) -> None:
        if event.score is not None and event.best_epoch == event.epoch:
            self._best = (event.epoch, event.score)
        if verbosity.quiet:
            return
        line = f"{self._label}epoch {event.epoch}/{event.epochs}  loss {event.losses['total']:.3f}"
        if event.score is not None:
            star = "  best so far" if event.best_epoch == event.epoch else ""
            line += f"  score {event.score:.2f}{star}"
        line += f"  {event.seconds:.0f} s + {event.evaluation_seconds:.0f} s"
        console = self._progress.console if self._progress is not None else err()
        console.print(line, markup=False, soft_wrap=True)
