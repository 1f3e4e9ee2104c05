"""Entry point of the `vtg` command: prepares the process, then turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; exits with 0 (done), 1 (some inputs failed) or 2 (usage)."""
    # Read once, when torch is loaded: spinning OpenMP threads make a busy machine several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")

    from extractors.errors import UsageError, VtgError
    from vtg_cli.app import app
    from vtg_cli.console import error_line

    try:
        app(standalone_mode=True, prog_name="vtg")
    except UsageError as error:
        error_line(str(error))
        sys.exit(2)
    except VtgError as error:
        error_line(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        error_line("interrupted; what was finished is kept, and the same command goes on from there")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does: nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
