"""A library changes nothing of the process it is used in: what importing and using it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extractors.rendering import render

REPO = Path(__file__).resolve().parents[2]

_USE = """
import ctypes, logging, os, signal, sys, warnings
from pathlib import Path

called = []
library = ctypes.CDLL(None)

class Watched(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "mallopt":
            called.append(name)
        return super().__getattr__(name)

ctypes.CDLL = Watched

import av.logging, decord, torch
av.logging.set_level(av.logging.CRITICAL)
torch.set_num_threads(3)
torch.ones(8) @ torch.ones(8)

def state():
    loggers = [logging.root, *(logging.getLogger(name) for name in sorted(logging.root.manager.loggerDict))]
    return {
        "environment": dict(os.environ),
        "threads": torch.get_num_threads(),
        "threads between operations": torch.get_num_interop_threads(),
        "default type": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "cudnn": torch.backends.cudnn.benchmark,
        "standard streams": [(os.fstat(fd).st_dev, os.fstat(fd).st_ino) for fd in (0, 1, 2)],
        "log level of FFmpeg": av.logging.get_level(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
        "warnings": list(warnings.filters),
        "folder": os.getcwd(),
    }, {logger.name: (logger.level, list(logger.handlers)) for logger in loggers}

before, loggers = state()
video, folder = Path(sys.argv[1]), Path(sys.argv[2])

import vtg
from extractors.cache.store import FeatureCache
from extractors.encoders.base import EncoderOptions
from extractors.encoders.registry import load_video_encoder
from extractors.extraction.multi_device import extract_on_devices
from extractors.extraction.options import ExtractionOptions
from extractors.extraction.pipeline import extract_features

grounder = vtg.Grounder.load(features="lite", offline=True, cache=folder / "grounder")
assert grounder.ground(video, "a cat")[0].saliency.scores
options = {"lite": EncoderOptions(offline=True, device="cpu")}
encoders = [load_video_encoder("lite", options["lite"])]
here = ExtractionOptions(stall_s=None)
assert extract_features([video], encoders, FeatureCache(folder / "here"), here).extracted == 1
assert extract_on_devices([video], ["cpu"], options, FeatureCache(folder / "devices")).extracted == 1

after, loggers_after = state()
for name in before:
    assert before[name] == after[name], (name, before[name], after[name])
for name in loggers:
    assert loggers[name] == loggers_after[name], name
assert loggers_after["root"] == (logging.WARNING, [])
assert not called
assert library.mallopt and "matplotlib" not in sys.modules and "accelerate" not in sys.modules
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at what Linux shows")
def test_host_is_left_as_it_was(tmp_path: Path) -> None:
    video = render(tmp_path / "video.mp4", frames=60, fps=10, width=64, height=64)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", _USE, str(video), str(tmp_path)],
        env={**environment, "PYTHONPATH": str(REPO), "VTG_HOME": str(tmp_path), "VTG_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_commands_prepare_their_process() -> None:
    code = """
import os
from vtg_cli.process import prepare_process
prepare_process()
print(os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"])
"""
    environment = {name: value for name, value in os.environ.items() if "OMP" not in name}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["PASSIVE", "0"]
