"""What a shell completes values with: names that vtg knows, looked up only when Tab is pressed.

Where a value may also be a file, nothing is offered for what looks like a path, so that the shell completes files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

Completion = Callable[[str], list[str]]


def _starting_with(names: Callable[[], Iterable[str]]) -> Completion:
    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    return complete


def features(incomplete: str) -> list[str]:
    """Names separated by commas: the last one is completed, with one that is not there yet."""
    from extractors.encoders.registry import video_feature_names

    *before, last = incomplete.split(",")
    prefix = "".join(f"{name}," for name in before)
    names = video_feature_names() if before else ("auto", *video_feature_names())
    return [f"{prefix}{name}" for name in names if name.startswith(last) and name not in before]


def _models() -> Iterable[str]:
    from extractors.weights.store import artefacts

    return ("auto", "zero-shot", *(item.name for item in artefacts() if item.kind == "model"))


def _weights() -> Iterable[str]:
    from extractors.weights.store import artefacts

    return (item.name for item in artefacts())


def _speech_weights() -> Iterable[str]:
    from extractors.weights.store import artefacts

    return (item.name for item in artefacts() if item.kind == "speech")


def _formats() -> Iterable[str]:
    from vtg_cli.writers.formats import formats as known

    return (form.name for form in known())


def _datasets() -> Iterable[str]:
    from model.dataset_entry import datasets as known

    return (info.name for info in known())


def _configs() -> Iterable[str]:
    from model.config import available_configs

    return available_configs()


def _devices() -> Iterable[str]:
    from extractors.compute.device import DEVICES

    return (name for name in DEVICES if name != "cuda:N")


def _precisions() -> Iterable[str]:
    from extractors.compute.device import PRECISIONS

    return PRECISIONS


def _decoders() -> Iterable[str]:
    from extractors.decoding.clip_reader import DECODERS

    return DECODERS


models = _starting_with(_models)
weights = _starting_with(_weights)
speech_weights = _starting_with(_speech_weights)
formats = _starting_with(_formats)
datasets = _starting_with(_datasets)
configs = _starting_with(_configs)
devices = _starting_with(_devices)
precisions = _starting_with(_precisions)
decoders = _starting_with(_decoders)
