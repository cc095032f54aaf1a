"""Batches of augmented, normalised training images, made on the training device from images that lie there whole.

Every random choice comes from the generator of a pass: its order, and a seed for each chunk of images that are
augmented together. Only the start of an alternating flip is drawn once, for all passes. On CUDA a pass's order is
copied there at once, and the next chunk is made beside the steps of the present one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from cifar.augmentation.augment import augment
from cifar.augmentation.image_ops import on_device
from cifar.data.images import ImageSet
from cifar.normalization import Normalization, normalize
from cifar.prefetch import one_ahead
from cifar.recipe import Recipe
from cifar.runtime.seeds import derive_seed
from cifar.runtime.threads import in_rounds

AUGMENTED_AT_ONCE = 2048  # images; the fixed cost of each operation is shared by several batches
AUGMENTED_BYTES = 16 * 2**20  # most that these may be, as uint8: 111 of 224 x 224 pixels; operations take a multiple


class Loader:
    """The batches of training images.

    Args:
        images: on the training device.
        recipe: its batch size and augmentation; mixing is left to the step.
        normalization: of the network's input.
        seed: of what is drawn once for all passes.
    """

    def __init__(self, images: ImageSet, recipe: Recipe, normalization: Normalization, *, seed: int) -> None:
        self.images, self.labels, self.device = images.images, images.labels, images.labels.device
        self.augmentation, self.normalization = recipe.augmentation, normalization
        self.batch_size = min(recipe.batch_size, len(self.labels))
        self.batches_a_pass = len(self.labels) // self.batch_size  # the rest of a last batch waits for another pass
        self.most_at_once = max(1, AUGMENTED_BYTES // self.images.shape[1:].numel())  # images
        once = torch.Generator().manual_seed(derive_seed(seed, "flip"))
        self.mirrored_first = torch.rand(len(self.labels), generator=once) < 0.5  # (N,) in even passes, if alternating

    def batches(self, generator: torch.Generator, epoch: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass: float32 (B, 3, H, W) in channels_last, with int64 (B,) labels.

        Args:
            generator: a CPU generator, the source of every choice.
            epoch: passes before this one; after each, an alternating flip mirrors the other images.
        """
        order = torch.randperm(len(self.labels), generator=generator)[: self.batches_a_pass * self.batch_size]
        batches_at_once = max(1, min(AUGMENTED_AT_ONCE, self.most_at_once) // self.batch_size)
        chunks, indices = (
            torch.split(part, batches_at_once * self.batch_size) for part in (order, on_device(order, self.device))
        )
        # a seed for each chunk, so that the images do not depend on how many chunks are augmented at the same time
        seeds: list[int] = torch.randint(2**63 - 1, (len(chunks),), generator=generator).tolist()
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        augmented = partial(self._augmented, odd=epoch % 2 == 1)
        work = in_rounds(augmented, list(zip(chunks, indices, seeds, strict=True)), threads)
        for chunk in one_ahead(work, self.device):
            for batch, labels in zip(*(torch.split(part, self.batch_size) for part in chunk), strict=True):
                ready = normalize(batch, self.normalization)
                yield ready.contiguous(memory_format=torch.channels_last), labels

    def _augmented(self, chunk: tuple[Tensor, Tensor, int], *, odd: bool) -> tuple[Tensor, ...]:
        """Augmented uint8 images (B, 3, H, W) and int64 labels (B,).

        Args:
            chunk: int64 indices (B,) of the images on the CPU, the same on the device, and a seed.
            odd: whether an odd number of passes came before.
        """
        order, index, seed = chunk
        generator = torch.Generator().manual_seed(seed)
        fill = self.normalization.mean_colour
        mirrored = self.mirrored_first[order] ^ odd if self.augmentation.alternating_flip else None
        parts = [  # more than one where a batch of large images exceeds AUGMENTED_BYTES
            augment(self.images[part], self.augmentation, generator, fill=fill, mirrored=which)
            for part, which in self._parts(index, mirrored)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts), self.labels[index]

    def _parts(self, index: Tensor, mirrored: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """What is augmented at once: indices, and which of their images are mirrored, where that is settled."""
        for start in range(0, len(index), self.most_at_once):
            part = slice(start, start + self.most_at_once)
            yield index[part], None if mirrored is None else mirrored[part]
