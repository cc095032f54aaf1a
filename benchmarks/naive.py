"""The yardstick: what one would write without this tool, honestly.

A map-style dataset of PIL images, torchvision transforms on one image at a time, a `DataLoader` with two workers,
float32, NCHW: the pipeline of all five reference projects. Each network is timed in a fresh process (`apart`), as one
would run it: the trainer's memory settings (`cifar.runtime.allocator`) hold for a whole process, and malloc adapts its
own to what was freed before.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Protocol, TypeVar

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from cifar.candidate import Candidate
from cifar.data.images import ImageSet
from cifar.data.prepare import PreparedData
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.normalization import Normalization, normalization_for
from cifar.recipe import Augmentation, Recipe
from cifar.runtime.device import Device

WORKERS = 2
BATCH = 128
VAL_SHARE = 0.1  # share of the training images
EVALUATED = 1000  # images of one timed evaluation

T = TypeVar("T")


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
    """Torchvision's transforms for the parts of a recipe's augmentation that the reference recipes use."""
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
        self.normalization = normalization
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
    batches = loader(data, plain_transform(normalization), BATCH, shuffle=False)
    return torch.cat([network(images.to(device)).cpu() for images, _ in batches])


def images_per_s(steps: Callable[[], Iterator[int]], seconds: float, wait: Callable[[], object] = int) -> float:
    """Speed over about `seconds` after the first step, which waits for the workers to start.

    Args:
        steps: an epoch's steps, each with its number of images; repeated as needed.
        seconds: how long to measure.
        wait: returns once the device has done what it was given.
    """

    def endless() -> Iterator[int]:
        while True:
            yield from steps()

    running = endless()
    next(running)
    wait()
    started, images = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        images += next(running)
    wait()
    return images / (time.perf_counter() - started)


@cache
def split_of(data: PreparedData) -> TrainingSplit:
    """The images that both sides are timed with."""
    return load_training_split(data, val_size=round(VAL_SHARE * data.train_count))


@cache  # one measurement after the other continues the same training
def usual_training(candidate: Candidate, data: PreparedData, device: Device) -> NaiveTraining:
    """The usual pipeline for a candidate."""
    train = split_of(data).train
    normalization = normalization_for(candidate.recipe, train)
    return NaiveTraining(candidate.network.build(), candidate.recipe, train, normalization, device.torch_device)


def training_speed(candidate: Candidate, data: PreparedData, device: Device, seconds: float) -> float:
    """Training images/s."""
    return images_per_s(usual_training(candidate, data, device).steps, seconds)


def input_speed(candidate: Candidate, data: PreparedData, device: Device, seconds: float) -> float:
    """Images/s of the augmentation and the `DataLoader` alone."""
    batches = usual_training(candidate, data, device).loader
    return images_per_s(lambda: (len(labels) for _, labels in batches), seconds)


def evaluation_speed(candidate: Candidate, data: PreparedData, device: Device) -> float:
    """Images/s of one evaluation."""
    usual, images = usual_training(candidate, data, device), evaluated(data)
    started = time.perf_counter()
    predict(usual.network, images, usual.normalization, usual.device)
    return len(images) / (time.perf_counter() - started)


def evaluated(data: PreparedData) -> ImageSet:
    """The images of one timed evaluation."""
    val = split_of(data).val
    return ImageSet(val.images[:EVALUATED], val.labels[:EVALUATED])


class Apart(Protocol):
    """Calls a function of a module in another process, always the same one."""

    def __call__(self, work: Callable[..., T], /, *args: object) -> T:
        """What `work` returns for these arguments."""


def _start_workers_by(method: str) -> None:
    """A spawned process would spawn its own too, unlike a script: each worker would import PyTorch anew."""
    multiprocessing.set_start_method(method, force=True)


@contextmanager
def apart() -> Iterator[Apart]:
    """A fresh process, idle between calls."""
    spawn, usual = multiprocessing.get_context("spawn"), multiprocessing.get_start_method()
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_start_workers_by, initargs=(usual,)) as pool:

        def call(work: Callable[..., T], /, *args: object) -> T:
            return pool.submit(work, *args).result()

        yield call
