"""Jobs, curves and places by themselves."""

from __future__ import annotations

import threading
import time

import pytest

from extractors.errors import UsageError, VtgError
from model.grounding.results import Saliency
from vtg_cli.mcp.curves import thinned
from vtg_cli.mcp.jobs import MOST_WAITING, Job, Jobs, Report
from vtg_cli.mcp.places import Places
from vtg_cli.parsing.options import ModelArguments


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 1000, 1001])
def test_curve(count):
    scores = tuple((index * 37 % 101) / 100 for index in range(count))
    times_s, values = thinned(Saliency(2.0, scores), 2.0 * count - 0.5, 10)
    assert len(times_s) == len(values) == min(len(values), 10)
    assert max(values) == max(scores)
    assert times_s == sorted(set(times_s))
    assert all(value == scores[int(time_s / 2)] for time_s, value in zip(times_s, values, strict=True))


def finished(jobs: Jobs, job: Job) -> Job:
    end_s = time.monotonic() + 30
    while not (now := jobs.get(job.id) or job).is_finished:
        assert time.monotonic() < end_s
        time.sleep(0.01)
    return now


def test_jobs_run_one_after_another():
    jobs = Jobs()
    gate = threading.Event()
    done = []

    def work(name: str):
        def run(report: Report) -> str:
            report(0.5, "halfway")
            gate.wait(30)
            done.append(name)
            return f"{name} is done"

        return run

    first, second = (jobs.submit(name, work(name)) for name in ("one", "two"))
    assert jobs.submit("one", work("again")).id == first.id
    gate.set()
    assert finished(jobs, second).message == "two is done"
    assert (done, finished(jobs, first).progress) == (["one", "two"], 1.0)
    assert jobs.close(30)


def test_a_job_that_fails(capsys):
    jobs = Jobs()

    def refuse(report: Report) -> str:
        raise VtgError("this is no video")

    def crash(report: Report) -> str:
        raise ZeroDivisionError

    assert finished(jobs, jobs.submit("a", refuse)).message == "this is no video"
    failed = finished(jobs, jobs.submit("b", crash))
    assert (failed.state, "vtg itself failed" in failed.message) == ("failed", True)
    captured = capsys.readouterr()
    assert (captured.out, "ZeroDivisionError" in captured.err) == ("", True)
    assert jobs.close(30)


def test_close_stops_a_job():
    jobs = Jobs()
    started = threading.Event()

    def forever(report: Report) -> str:
        while True:
            report(0.1, "at it")
            started.set()
            time.sleep(0.01)

    job = jobs.submit("a", forever)
    assert started.wait(30)
    assert jobs.close(30)
    assert finished(jobs, job).message == "the server was stopped"


def test_the_queue_is_bounded():
    jobs = Jobs()
    gate = threading.Event()

    def wait(report: Report) -> str:
        gate.wait(30)
        return ""

    started = threading.Event()

    def wait_first(report: Report) -> str:
        started.set()
        return wait(report)

    jobs.submit("running", wait_first)
    assert started.wait(30)
    for index in range(MOST_WAITING):
        jobs.submit(str(index), wait)
    with pytest.raises(VtgError, match="64 jobs are waiting already"):
        jobs.submit("one more", wait)
    assert not jobs.close(0)
    gate.set()
    assert jobs.close(30)


def test_a_library_in_object_storage_is_named_by_its_address(bucket):
    address = f"{bucket.url}/library"
    places = Places([], [address], ModelArguments())
    assert places.library_names == [address]
    with pytest.raises(UsageError, match="there is no library here"):
        places.library(address).info()
