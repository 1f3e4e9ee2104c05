"""Connects a command to a Ray cluster, without Ray's own output."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from extractors.errors import UsageError, VtgError

_ANSWER_S = 5.0  # within which a cluster accepts a connection; Ray itself tries for several minutes
_OBJECT_STORE_BYTES = 80 << 20  # about the least that Ray takes; events never get there
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    # What Ray has to report about workers and nodes, it prints among the answers; the command reports it itself.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Stay connected to a cluster in a `with` block.

    Args:
        address: `local` starts a cluster of this machine alone, which ends with the block; `auto` looks for one that
            runs on this machine or is named by RAY_ADDRESS; anything else is HOST:PORT.

    Raises:
        UsageError: if ray is not installed, or there is no such cluster.
        VtgError: if Ray cannot be started on this machine.
    """
    from extractors.extraction.ray_cluster import require_ray

    named = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    if named.startswith("ray://"):
        raise UsageError(
            f"--ray {named}: a client's connection is too slow for events; run the command on a node of the cluster, "
            "or with 'ray job submit'"
        )
    os.environ.update({name: value for name, value in _ENVIRONMENT.items() if name not in os.environ})
    ray = require_ray()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with ExitStack() as stack:
        arguments = _new_cluster(stack) if address == "local" else {"address": _running(address)}
        stack.callback(ray.shutdown)
        try:
            ray.init(**arguments, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # of any class, down to Exception itself
            raise _no_cluster(address, error) from error
        finally:
            for number, handler in handlers.items():  # Ray's own end the process without a word
                signal.signal(number, handler)
        yield


def _running(address: str) -> str:
    """HOST:PORT of a cluster that answers.

    Raises:
        UsageError: if there is none. Ray keeps the address of a cluster that crashed.
    """
    found = address
    if address == "auto":
        from ray._private.services import get_ray_address_from_environment

        try:
            found = str(get_ray_address_from_environment("auto", None))
        except ConnectionError as error:
            raise _no_cluster(address, error) from error
    host, colon, port = found.rpartition(":")
    if not (colon and port.isdecimal()):
        raise UsageError(f"--ray {address}: {found} is not HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        where = "" if found == address else f" at {found}"
        raise UsageError(
            f"--ray {address}: no Ray cluster answers{where}; start one with 'ray start --head', name its address, or "
            "use --ray local"
        ) from error
    return found


def _new_cluster(stack: ExitStack) -> dict[str, Any]:
    from extractors.subprocesses.cores import usable_cores

    # The default is the same folder for all users. A path in it has to be short, because it names sockets.
    parent = Path("/tmp")
    folder = tempfile.mkdtemp(prefix="vtg-ray-", dir=parent if parent.is_dir() else None)
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return {
        "address": "local",
        "num_cpus": usable_cores(),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "_temp_dir": folder,
    }


def _no_cluster(address: str, error: Exception) -> VtgError:
    what = " ".join(str(error).split())
    if address == "local":
        return VtgError(f"--ray local: Ray could not be started ({what})")
    if address == "auto" and isinstance(error, ConnectionError):
        return UsageError(
            "--ray auto: no Ray cluster is running here; start one with 'ray start --head', name its address, or use "
            "--ray local"
        )
    return UsageError(f"--ray {address}: {what}")
