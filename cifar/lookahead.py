"""Lookahead: slow weights that follow the trained ones, which return to them every few steps (arXiv 1907.08610).

As in airbench94.py of KellerJordan/cifar10-airbench, whose decay rises with the share of the run that is done: at first
the slow weights go along with the fast ones, at the end they average over them.
"""

from __future__ import annotations

import torch
from torch import nn

POWER = 3  # of the share of the run that is done, in the decay: airbench94's `decay_pow`


class Lookahead:
    """Slow weights and batch-norm statistics of a network in training, equal to its own after each `look_back`.

    A run that is saved after a look back needs no state of this one.

    Args:
        network: in training; its tensors must stay the same objects.
        every: steps between two looks back (k of the paper).
        decay: share of the slow weights that stays in a step at the end of the run (`decay_base` of airbench94).
    """

    def __init__(self, network: nn.Module, every: int, decay: float) -> None:
        self.every, self.decay = every, decay
        self.fast = [value for value in network.state_dict().values() if value.is_floating_point()]
        self.slow = [value.clone() for value in self.fast]
        self.steps = 0  # since the last look back

    def step(self, progress: float) -> None:
        """Looks back if it is time to; once after each step of the optimizer.

        Args:
            progress: share of the run that is done, in [0, 1].
        """
        self.steps += 1
        if self.steps == self.every:
            self.look_back(progress)

    @torch.no_grad()
    def look_back(self, progress: float) -> None:
        """Moves the slow weights towards the network's, and the network's to where the slow ones now are."""
        if self.steps:
            kept = self.decay**self.steps * progress**POWER
            torch._foreach_lerp_(self.slow, self.fast, 1 - kept)
            torch._foreach_copy_(self.fast, self.slow)
            self.steps = 0

    @torch.no_grad()
    def restart(self) -> None:
        """Takes the network's weights for the slow ones, after others were loaded."""
        torch._foreach_copy_(self.slow, self.fast)
        self.steps = 0
