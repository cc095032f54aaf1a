"""Where the networks of fast training start, and what of their batch norm is fixed.

As in KellerJordan/cifar10-airbench (airbench94.py; arXiv 2404.00498). tysam-code/hlb-CIFAR10 (main.py) whitened
patches, and froze the scales of batch norm, before it.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Initialization = Literal["kaiming", "dirac"]

WHITENING_EPSILON = 5e-4  # added to each eigenvalue: airbench94.py, `init_whitening_conv`
PATCHES_AT_ONCE = 2**18  # 25 MB of 2 x 2 patches in double precision


def start_as_identity(network: nn.Module) -> None:
    """Lets every convolution pass its input channels on, each in an output of its own, as far as the outputs reach.

    Filters beyond the input channels keep the weights that they have.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight.detach()[: module.in_channels])


def set_norms(network: nn.Module, *, momentum: float, frozen_scale: bool) -> None:
    """Sets what all batch norms of a network have in common.

    Args:
        network: is changed.
        momentum: PyTorch's: the weight of a batch's statistics in each update of the running ones.
        frozen_scale: whether the scales stay as they are in training; the biases train.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum
            module.weight.requires_grad_(not frozen_scale)


def whitening_filters(images: Tensor, kernel: int) -> Tensor:
    """Filters that whiten the patches of images: their outputs are uncorrelated, with a mean square near 1.

    An eigenvector of the patches' second moments is divided by the root of its eigenvalue plus `WHITENING_EPSILON`.
    Either sign would do; the one that makes the greatest weight positive is taken, on every machine.

    Args:
        images: float (N, 3, H, W), normalised as the network gets them.
        kernel: height and width of the patches in pixels.

    Returns:
        float32 (3 * kernel**2, 3, kernel, kernel) on the CPU, by falling eigenvalue.
    """
    eigenvalues, eigenvectors = torch.linalg.eigh(_patch_moments(images, kernel))  # rising; a column an eigenvector
    greatest = eigenvectors.abs().argmax(dim=0, keepdim=True)
    scale = eigenvectors.gather(0, greatest).sign() / (eigenvalues + WHITENING_EPSILON).sqrt()
    filters: Tensor = (eigenvectors * scale).T.flip(0)
    return filters.reshape(-1, 3, kernel, kernel).float()


def _patch_moments(images: Tensor, kernel: int) -> Tensor:
    """Mean product of each two values of a patch, (P, P) in double precision."""
    length = 3 * kernel**2
    images_at_once = max(1, PATCHES_AT_ONCE // images[0, 0].numel())
    moments, count = torch.zeros(length, length, dtype=torch.float64), 0
    for some in torch.split(images, images_at_once):
        patches = F.unfold(some.cpu().double(), kernel).transpose(1, 2).reshape(-1, length)
        moments += patches.T @ patches
        count += len(patches)
    return moments / count
