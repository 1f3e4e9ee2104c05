"""The cost model of `benchmarks/scale.py`."""

from __future__ import annotations

import pytest

from benchmarks.scale import Cost, Plan, Prices, cost_of, plan

NODE = Prices(cores=16, gpus=1, node_h=2.0, spot_h=0.5, terabyte_month=20.0, efficiency=0.5, lost=0.1)


def hours(cost: Cost, deadline_h: float = 10.0) -> Plan:
    return plan(1600, cost, NODE, deadline_h, vectors_per_row=0.25)


def test_decoding_sets_the_pace() -> None:
    # 1,600 hours at 360 core seconds are 160 core hours, 320 at half efficiency, 20 of a node.
    found = hours(Cost(decode_cpu_s=300, encode_cpu_s=60, gpu_s=9, row_bytes=5e6, index_bytes=1e6))
    assert found.core_h == pytest.approx(320)
    assert found.gpu_h == pytest.approx(4)
    assert (found.nodes, found.wall_h) == (2, pytest.approx(10))
    assert found.node_money == pytest.approx(40)
    assert found.spot_money == pytest.approx(20 * 1.1 * 0.5)
    assert found.feature_bytes == pytest.approx(8e9)
    assert found.index_bytes == pytest.approx(0.4e9)
    assert found.storage_money == pytest.approx(0.16)


def test_a_gpu_sets_the_pace() -> None:
    found = hours(Cost(decode_cpu_s=36, encode_cpu_s=0, gpu_s=90, row_bytes=5e6, index_bytes=1e6))
    assert (found.nodes, found.wall_h) == (4, pytest.approx(10))
    assert found.node_money == pytest.approx(80)


def test_cost_of_an_hour() -> None:
    bench = {
        "video": {"seconds": 20.0},
        "decoding": {"cpu_s": 0.5},
        "encoders": [{"name": "clip", "cpu_s": 0.25}, {"name": "slowfast", "cpu_s": 4.0}],
    }
    on_cpu = cost_of(bench, {})
    assert (on_cpu.decode_cpu_s, on_cpu.encode_cpu_s, on_cpu.gpu_s) == (90, 765, 0)
    assert on_cpu.row_bytes == 1800 * 2 * (512 + 2304)
    assert on_cpu.index_bytes == 1800 * (2 * 512 + 140)
    on_gpu = cost_of(bench, {"slowfast": 450.0})
    assert (on_gpu.encode_cpu_s, on_gpu.gpu_s) == (45, 4)
