"""The yardstick: what one would write without this tool, honestly.

A map-style dataset of PIL images, torchvision transforms on one image at a time, a `DataLoader` with two workers,
float32, NCHW: the pipeline of all five reference projects.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from cifar.data import ImageSet
from cifar.evaluate import Normalization
from cifar.recipe import Augmentation, Recipe

WORKERS = 2


class PilImages(Dataset[tuple[Tensor, int]]):
    """One augmented, normalised image and its label an item.

    Args:
        data: uint8 (N, 3, H, W).
        transform: from a PIL image to float32 (3, H, W).
    """

    def __init__(self, data: ImageSet, transform: v2.Compose) -> None:
        self.images = data.images.permute(0, 2, 3, 1).contiguous().numpy()  # (N, H, W, 3)
        self.labels = data.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def training_transform(aug: Augmentation, normalization: Normalization, size: int = 32) -> v2.Compose:
    """torchvision's transforms for the parts of a recipe's augmentation that the reference recipes use."""
    steps: list[nn.Module] = []
    if aug.flip:
        steps.append(v2.RandomHorizontalFlip())
    if aug.crop_padding:
        steps.append(v2.RandomCrop(size, padding=aug.crop_padding))
    if aug.brightness or aug.contrast or aug.saturation:
        steps.append(v2.ColorJitter(aug.brightness, aug.contrast, aug.saturation))
    if aug.rotation:
        steps.append(v2.RandomRotation(aug.rotation))
    if aug.randaugment_ops:
        steps.append(v2.RandAugment(aug.randaugment_ops, aug.randaugment_magnitude))
    steps += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    if aug.erasing:
        steps.append(v2.RandomErasing(aug.erasing, aug.erasing_area, aug.erasing_ratio))
    return v2.Compose([*steps, v2.Normalize(normalization.mean, normalization.std)])


def plain_transform(normalization: Normalization) -> v2.Compose:
    """Normalisation only, for evaluation."""
    steps = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(normalization.mean, normalization.std)]
    return v2.Compose(steps)


def loader(data: ImageSet, transform: v2.Compose, batch_size: int, *, shuffle: bool) -> DataLoader[tuple[Tensor, int]]:
    """The usual DataLoader."""
    return DataLoader(
        PilImages(data, transform),
        batch_size,
        shuffle=shuffle,
        num_workers=WORKERS,
        drop_last=shuffle,
        pin_memory=torch.cuda.is_available(),
    )


class NaiveTraining:
    """The usual loop: SGD or AdamW at a constant rate, loss read after every step."""

    def __init__(
        self, network: nn.Module, recipe: Recipe, data: ImageSet, normalization: Normalization, device: torch.device
    ) -> None:
        self.network, self.recipe, self.device = network.to(device), recipe, device
        transform = training_transform(recipe.augmentation, normalization, data.images.shape[-1])
        self.loader = loader(data, transform, recipe.batch_size, shuffle=True)
        settings = recipe.optimizer
        if settings.name == "sgd":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
                network.parameters(), settings.peak_lr, settings.momentum, 0.0, settings.weight_decay, settings.nesterov
            )
        else:
            self.optimizer = torch.optim.AdamW(
                network.parameters(), settings.peak_lr, weight_decay=settings.weight_decay
            )

    def steps(self) -> Iterator[int]:
        """One epoch; yields the images of each step."""
        self.network.train()
        for images, labels in self.loader:
            self.step(images.to(self.device), labels.to(self.device))
            yield len(labels)

    def step(self, images: Tensor, labels: Tensor) -> float:
        """One optimizer step; the loss."""
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.network(images), labels, label_smoothing=self.recipe.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.item()


@torch.no_grad()
def predict(network: nn.Module, data: ImageSet, normalization: Normalization, device: torch.device) -> Tensor:
    """float32 (N, C) logits by the usual evaluation loop."""
    network.eval()
    batches = loader(data, plain_transform(normalization), 128, shuffle=False)
    return torch.cat([network(images.to(device)).cpu() for images, _ in batches])


def seconds_an_image(steps: Iterator[int], seconds: float) -> float:
    """Seconds an image over about `seconds`, after the first step, which waits for the workers to start."""
    next(steps)
    started, images, passed = time.perf_counter(), 0, 0.0
    while passed < seconds:
        images += next(steps)
        passed = time.perf_counter() - started
    return passed / images
