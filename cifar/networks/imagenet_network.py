"""The network of `networks.imagenet`; apart, since importing torchvision takes as long as torch itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

EVALUATED_AT_ONCE = 64  # images: 500 of 224 x 224 pixels would take 1.6 GB in the first convolution alone


class TransferNetwork(ResNet):  # type: ignore[misc]
    """torchvision's ResNet behind a resizing: (B, 3, S, S) float images of any S to (B, num_classes) logits.

    Args:
        blocks: of each stage.
        bottleneck: whether they are bottleneck blocks; otherwise basic ones.
        num_classes: outputs.
        resize: height and width in pixels that images are brought to.
        trains: whether training changes the module or parameter of a dotted name.
        freeze_norm: whether batch norm in parts that do not train keeps its statistics too.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        *,
        bottleneck: bool,
        num_classes: int,
        resize: int,
        trains: Callable[[str], bool],
        freeze_norm: bool,
    ) -> None:
        super().__init__(Bottleneck if bottleneck else BasicBlock, list(blocks), num_classes=num_classes)
        self.resize, self.trains, self.freeze_norm = resize, trains, freeze_norm
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(trains(name))

    def train(self, mode: bool = True) -> TransferNetwork:
        """As every module's, but what does not train stays in eval mode, so that its batch norm does not change."""
        super().train(mode)
        if self.freeze_norm:
            for name, child in self.named_children():
                if not self.trains(name):
                    child.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits; outside training a few images at a time, since resized ones are large."""
        if self.training:
            return self._resized_logits(x)
        return torch.cat([self._resized_logits(part) for part in torch.split(x, EVALUATED_AT_ONCE)])

    def _resized_logits(self, x: Tensor) -> Tensor:
        resized = F.interpolate(x, (self.resize, self.resize), mode="bilinear", align_corners=False)
        logits: Tensor = super().forward(resized)
        return logits
