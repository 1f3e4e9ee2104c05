from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.compute.onednn import PackedLinear

SIZES = st.integers(1, 40)


@settings(max_examples=40)
@given(
    rows=st.lists(st.integers(0, 150), min_size=2, max_size=4),
    inputs=SIZES,
    outputs=SIZES,
    bias=st.booleans(),
    slope=st.sampled_from([None, 0.0, 0.25]),
)
@torch.inference_mode()
def test_every_call_is_a_linear_map(
    rows: list[int], inputs: int, outputs: int, bias: bool, slope: float | None
) -> None:
    generator = torch.Generator().manual_seed(inputs * 41 + outputs)
    weight = torch.randn(outputs, inputs, generator=generator)
    offset = torch.randn(outputs, generator=generator) if bias else None
    packed = PackedLinear(weight, offset, slope=slope)
    for count in rows:  # the first call is on plain weights, the others on packed ones
        x = torch.randn(1, count, inputs, generator=generator)
        expected = F.linear(x, weight, offset)
        expected = expected if slope is None else F.leaky_relu(expected, slope)
        torch.testing.assert_close(packed(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_other_number_formats_stay_as_they_are(dtype: torch.dtype) -> None:
    weight, x = torch.randn(8, 16, dtype=dtype), torch.randn(3, 16, dtype=dtype)
    packed = PackedLinear(weight, None)
    for _ in range(3):
        torch.testing.assert_close(packed(x), F.linear(x, weight), rtol=0, atol=0)


@torch.inference_mode()
def test_strided_rows() -> None:
    weight, x = torch.randn(8, 16), torch.randn(2, 16, 5).transpose(1, 2)
    packed = PackedLinear(weight, None)
    for _ in range(3):
        torch.testing.assert_close(packed(x), F.linear(x, weight), rtol=1e-5, atol=1e-5)
