"""Modules one after the other, by the kernels for the CPU where they fit."""

from __future__ import annotations

from itertools import zip_longest

from torch import Tensor, nn

from cifar.networks.activation import TABLED, activate
from cifar.networks.batch_norm import norm_act
from cifar.networks.max_pool import max_pool


class Sequence(nn.Sequential):
    """As `nn.Sequential`, but by kernels: a batch norm and the ReLU after it, max pooling, and some activations."""

    def forward(self, x: Tensor) -> Tensor:
        """The output of the last module."""
        done = None
        for module, following in zip_longest(self, list(self)[1:]):
            if type(module) is nn.BatchNorm2d:  # a subclass may do something else
                done = following if type(following) is nn.ReLU else None
                x = norm_act(module, done, x)
            elif module is done:
                done = None
            elif type(module) is nn.MaxPool2d:
                x = max_pool(module, x)
            elif type(module) in TABLED:
                x = activate(module, x)
            else:
                x = module(x)
        return x
