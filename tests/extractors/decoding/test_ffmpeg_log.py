"""Reports of decoders, collected in a separate process."""

from __future__ import annotations

import subprocess
import sys

CONTAINER = "[matroska,webm @ 0x55d2] Read error\n"
DECODER = "[h264 @ 0x55d2] error while decoding MB 3 0\n"


def heard(code: str) -> str:
    """What a process prints that keeps complaints, of `write` to standard error and `Listener`s."""
    setting = """
import os
from extractors.decoding import ffmpeg_log as decoder_log
from extractors.decoding.ffmpeg_log import Listener
out = os.dup(1)
def say(*words): os.write(out, (" ".join(map(str, words)) + "\\n").encode())
def write(text):
    for line in text.splitlines(keepends=True):  # as FFmpeg does, which lets go of what cannot be written
        try:
            os.write(2, line.encode())
        except BlockingIOError:
            pass
"""
    done = subprocess.run([sys.executable, "-c", setting + code], capture_output=True, text=True, check=True)
    return done.stdout


def test_decoder_reports_only() -> None:
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


def test_container_messages() -> None:
    code = f"""
decoder_log.keep()
for round in range(6):
    listener = Listener()
    write({CONTAINER!r} * 1_000)
    say(listener.has_heard)
    write({DECODER!r})
    say(listener.has_heard)
"""
    assert heard(code).splitlines() == ["False", "True"] * 6


def test_endless_messages_are_bounded() -> None:
    code = f"""
import re, stat, tempfile, time
def memory_kb(): return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
decoder_log.keep()
listener = Listener()
before_kb, start_s = memory_kb(), time.monotonic()
line = {CONTAINER!r}.encode() * 20
for _ in range(200_000):  # 150 MB
    try:
        os.write(2, line)
    except BlockingIOError:
        pass
# So much is taken for a decoder's, as among it one's may be lost.
say(listener.has_heard, Listener().has_heard, stat.S_ISFIFO(os.fstat(2).st_mode))
say(memory_kb() - before_kb < 20_000, time.monotonic() - start_s < 60)
"""
    assert heard(code).splitlines() == ["True False True", "True True"]


def test_line_in_parts() -> None:
    code = f"""
decoder_log.keep()
listener = Listener()
os.write(2, {CONTAINER[:9]!r}.encode())
say(listener.has_heard)
os.write(2, {CONTAINER[9:]!r}.encode())
say(listener.has_heard)
"""
    assert heard(code).splitlines() == ["False", "False"]


def test_elsewhere_nothing_is_taken_or_heard() -> None:
    code = f"""
listener = Listener()
write({DECODER!r})
say(listener.has_heard)
"""
    assert heard(code) == "False\n"


def test_without_a_pipe_nothing_is_heard() -> None:
    code = f"""
import resource
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (4, hard))
decoder_log.keep()
listener = Listener()
write({DECODER!r})
say(listener.has_heard)
"""
    assert heard(code) == "False\n"
