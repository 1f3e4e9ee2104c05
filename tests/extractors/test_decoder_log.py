"""What decoders complain of, heard in a process that is there for nothing else."""

from __future__ import annotations

import subprocess
import sys

CONTAINER = "[matroska,webm @ 0x55d2] Read error\n"
DECODER = "[h264 @ 0x55d2] error while decoding MB 3 0\n"


def heard(code: str) -> str:
    """What a process prints that keeps complaints, of `write` to standard error and `Listener`s."""
    setting = """
import os
from extractors import decoder_log
from extractors.decoder_log import Listener
out = os.dup(1)
def say(*words): os.write(out, (" ".join(map(str, words)) + "\\n").encode())
def write(text): os.write(2, text.encode())
"""
    done = subprocess.run([sys.executable, "-c", setting + code], capture_output=True, text=True, check=True)
    return done.stdout


def test_decoders_are_heard_and_containers_are_not() -> None:
    code = f"""
decoder_log.keep()
write({DECODER!r})
listener = Listener()
both = Listener(containers=True)
say(listener.has_heard, both.has_heard)
write({CONTAINER!r})
say(listener.has_heard, both.has_heard)
write({DECODER!r})
say(listener.has_heard, listener.has_heard, Listener().has_heard)
"""
    assert heard(code).splitlines() == ["False False", "False True", "True True False"]


def test_a_decoder_that_never_stops_complaining_fills_no_disk() -> None:
    code = f"""
decoder_log.keep()
largest = 0
for round in range(6):
    listener = Listener()
    write({CONTAINER!r} * 20_000)
    largest = max(largest, os.fstat(2).st_size)
    say(listener.has_heard)
    write({DECODER!r})
    say(listener.has_heard)
say(largest < 3 << 20)
"""
    assert heard(code).splitlines() == ["False", "True"] * 6 + ["True"]


def test_elsewhere_nothing_is_taken_or_heard() -> None:
    code = f"""
listener = Listener()
write({DECODER!r})
say(listener.has_heard)
"""
    assert heard(code) == "False\n"


def test_without_room_for_a_file_nothing_is_heard() -> None:
    code = f"""
import tempfile
tempfile.tempdir = "/nowhere/at/all"
decoder_log.keep()
listener = Listener()
write({DECODER!r})
say(listener.has_heard)
"""
    assert heard(code) == "False\n"
