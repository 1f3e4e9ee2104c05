"""An exponential moving average of a network's weights, evaluated and stored instead of the last weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from model.network.flashvtg import FlashVTG

_EARLY = 10  # steps; early in training, the average forgets the random weights faster


class AveragedWeights:
    """The average of the weights over the steps of training.

    Args:
        network: the trained network, before its first step or where training resumes.
        decay: share of the average that is kept at each step, in (0, 1).
        steps: number of steps done so far.
        weights: the average so far; None for the network's weights.
    """

    def __init__(
        self, network: FlashVTG, decay: float, *, steps: int = 0, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        self._config = network.config
        self._decay = decay
        self._steps = steps
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
        for name, value in (weights or {}).items():
            self.weights[name].copy_(value)

    def update(self, network: FlashVTG) -> None:
        """Update the average with the weights after a step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (_EARLY + self._steps))
        newest = network.state_dict()
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.weights.values()), [newest[name] for name in self.weights], 1 - decay
            )

    def network(self) -> FlashVTG:
        """Return a network with the averaged weights, which are shared rather than copied."""
        with torch.device("meta"):
            averaged = FlashVTG(self._config)
        averaged.load_state_dict(self.weights, assign=True)
        return averaged
