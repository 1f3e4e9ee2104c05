"""An exponential moving average of a network's weights, which is evaluated and kept in place of the last ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from model.network.flashvtg import FlashVTG

_EARLY = 10  # steps; before, the average forgets its random beginning faster


class AveragedWeights:
    """The average of the weights over the steps of training.

    Args:
        network: the one that is trained, at its first step or where it resumes.
        decay: what is left of the average at each step, in (0, 1).
        steps: done so far.
        weights: the average so far; None takes the network's weights.
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
        """Take in the weights after a step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (_EARLY + self._steps))
        newest = network.state_dict()
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.weights.values()), [newest[name] for name in self.weights], 1 - decay
            )

    def network(self) -> FlashVTG:
        """A network with the averaged weights, which it shares."""
        with torch.device("meta"):
            averaged = FlashVTG(self._config)
        averaged.load_state_dict(self.weights, assign=True)
        return averaged
