"""Batches of augmented, normalised training images, made on the training device from images that lie there whole.

Every random choice comes from the generator of a pass: its order, and a seed for each chunk of images that are
augmented together.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cifar.augmentation.augment import augment
from cifar.data.images import ImageSet
from cifar.normalization import Normalization, normalize
from cifar.recipe import Recipe
from cifar.runtime.threads import in_rounds

AUGMENTED_AT_ONCE = 2048  # images; the fixed cost of each operation is shared by several batches
AUGMENTED_BYTES = 16 * 2**20  # most that these may be, as uint8: 111 of 224 x 224 pixels; operations take a multiple


class Loader:
    """The batches of training images.

    Args:
        images: on the training device.
        recipe: its batch size and augmentation; mixing is left to the step.
        normalization: of the network's input.
    """

    def __init__(self, images: ImageSet, recipe: Recipe, normalization: Normalization) -> None:
        self.images, self.labels, self.device = images.images, images.labels, images.labels.device
        self.augmentation, self.normalization = recipe.augmentation, normalization
        self.batch_size = min(recipe.batch_size, len(self.labels))
        self.batches_a_pass = len(self.labels) // self.batch_size  # the rest of a last batch waits for another pass
        self.most_at_once = max(1, AUGMENTED_BYTES // self.images.shape[1:].numel())  # images

    def batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass: float32 (B, 3, H, W) in channels_last, with int64 (B,) labels.

        Args:
            generator: a CPU generator, the source of every choice.
        """
        order = torch.randperm(len(self.labels), generator=generator)[: self.batches_a_pass * self.batch_size]
        batches_at_once = max(1, min(AUGMENTED_AT_ONCE, self.most_at_once) // self.batch_size)
        chunks = torch.split(order, batches_at_once * self.batch_size)
        # a seed for each chunk, so that the images do not depend on how many chunks are augmented at the same time
        seeds: list[int] = torch.randint(2**63 - 1, (len(chunks),), generator=generator).tolist()
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        for chunk in in_rounds(self._augmented, list(zip(chunks, seeds, strict=True)), threads):
            for batch, labels in zip(*(torch.split(part, self.batch_size) for part in chunk), strict=True):
                ready = normalize(batch, self.normalization)
                yield ready.contiguous(memory_format=torch.channels_last), labels

    def _augmented(self, chunk: tuple[Tensor, int]) -> tuple[Tensor, Tensor]:
        """Augmented uint8 images (B, 3, H, W) with int64 labels (B,), of int64 indices (B,) on the CPU and a seed."""
        order, seed = chunk
        index = order.to(self.device, non_blocking=True)
        generator = torch.Generator().manual_seed(seed)
        fill = self.normalization.mean_colour
        parts = [  # more than one where a batch of large images exceeds AUGMENTED_BYTES
            augment(self.images[part], self.augmentation, generator, fill=fill)
            for part in torch.split(index, self.most_at_once)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts), self.labels[index]
