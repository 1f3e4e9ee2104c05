"""Entry point of the `vtg` command: prepares the process, then turns errors into one line and an exit code."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import TextIO

_INTERRUPTED = 130  # what shells expect of a command that Ctrl-C ended


def main() -> None:
    """Run the command line; exits with 0 (done), 1 (some inputs failed), 2 (usage), 130 or 143 (interrupted)."""
    interrupts = _Interrupts()
    try:
        code = _run()
    except BaseException:
        # Libraries turn an interrupt that meets them half loaded into errors of all kinds.
        if not interrupts.came:
            raise
        code = _interrupted()
    if interrupts.came and code:  # whatever it was turned into on the way
        if code != _INTERRUPTED:
            _interrupted()
        code = interrupts.code
    _flush_errors()
    interrupts.end(code)
    sys.exit(code)


def _run() -> int:
    """Run the command, and print errors in one line; returns the exit code."""
    from vtg_cli.packages import require_own_packages

    try:
        require_own_packages()
    except ImportError as error:  # nothing else of vtg can be imported then
        print(f"vtg: {error}", file=sys.stderr)
        return 1

    from extractors.errors import UsageError, VtgError
    from vtg_cli.app import app
    from vtg_cli.process import prepare_process
    from vtg_cli.terminal.console import error_line

    prepare_process()

    try:
        code = 0
        try:
            app(standalone_mode=True, prog_name="vtg")
        except SystemExit as end:
            # Typer ends on its own when it meets an interrupt or a closed pipe, without a word.
            for cause in (end.__context__, getattr(end.__context__, "__cause__", None)):
                if isinstance(cause, (KeyboardInterrupt, BrokenPipeError)):
                    raise cause from None
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if sys.stdout is not None:  # `>&-` closes it
            sys.stdout.flush()
        return code
    except UsageError as error:
        error_line(str(error))
        return 2
    except VtgError as error:
        error_line(str(error))
        return 1
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does: nothing is wrong.
        _discard_output()
        return 0
    except OSError as error:
        from extractors.files.atomic import write_failure

        where = error.filename or "standard output"
        error_line(f"{where}: {write_failure(error)}")
        _discard_output()
        return 1


def _interrupted() -> int:
    from vtg_cli.terminal.console import error_line

    error_line("interrupted; what was finished is kept, and the same command continues from there")
    return _INTERRUPTED


def _discard_output() -> None:
    """Discard what is still to be written, or Python reports it at exit."""
    _discard(sys.stdout)


def _flush_errors() -> None:
    """Write what waits for standard error; if nobody reads it, Python would end with another exit code."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except (OSError, ValueError):
        _discard(sys.stderr)


def _discard(stream: TextIO | None) -> None:
    with suppress(OSError, ValueError):  # it is closed
        if stream is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Interrupts:
    """Ctrl-C, and SIGTERM as of a system that shuts down: the first ends the command in order, the second at once.

    Attributes:
        came: whether there was one.
        code: its exit code: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self) -> None:
        self.came = False
        self.code = _INTERRUPTED
        self._exit_code = _INTERRUPTED
        atexit.register(self._leave)  # the first of all, so that it is the last to be called
        # A command started in the background is not meant to be interrupted.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._handle)

    def end(self, code: int) -> None:
        """Ignore further interrupts while the process ends."""
        self._exit_code = code
        for number in (signal.SIGINT, signal.SIGTERM):
            if not self.came and signal.getsignal(number) == self._handle:
                signal.signal(number, signal.SIG_IGN)

    def _leave(self) -> None:
        # Python would raise the signal against itself if the interrupt met an `exec`, and have no exit code.
        if self.came:
            for stream in (sys.stdout, sys.stderr):
                # It may be closed, or never have been open.
                with suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            os._exit(self._exit_code)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            os.write(2, b"vtg: interrupted again; stopped at once\n")
            os._exit(128 + number)
        self.came = True
        self.code = 128 + number
        raise KeyboardInterrupt


if __name__ == "__main__":
    main()
