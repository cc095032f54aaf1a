"""The network of `TransferConfig`; apart, since importing torchvision takes as long as torch itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from cifar.networks.imagenet import BLOCKS, TransferConfig

EVALUATED_AT_ONCE = 64  # images: 500 of 224 x 224 pixels would take 1.6 GB in the first convolution alone


class TransferNetwork(ResNet):  # type: ignore[misc]
    """torchvision's ResNet behind a resizing: (B, 3, S, S) float images of any S to (B, num_classes) logits."""

    def __init__(self, config: TransferConfig) -> None:
        block = Bottleneck if config.expansion > 1 else BasicBlock
        super().__init__(block, list(BLOCKS[config.architecture]), num_classes=config.num_classes)
        self.config = config
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(config.trains(name))

    def train(self, mode: bool = True) -> TransferNetwork:
        """As every module's, but what does not train stays in eval mode, so that its batch norm does not change."""
        super().train(mode)
        if self.config.freeze_norm:
            for name, child in self.named_children():
                if not self.config.trains(name):
                    child.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits; outside training a few images at a time, since resized ones are large."""
        if self.training:
            return self._resized_logits(x)
        return torch.cat([self._resized_logits(part) for part in torch.split(x, EVALUATED_AT_ONCE)])

    def _resized_logits(self, x: Tensor) -> Tensor:
        size = self.config.resize
        resized = F.interpolate(x, (size, size), mode="bilinear", align_corners=False)  # (B, 3, size, size)
        logits: Tensor = super().forward(resized)
        return logits
