"""What is augmented at once: many small images, few large ones, and never more than so many bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from cifar import loader, prefetch
from cifar.augmentation.augment import augment
from cifar.data.images import ImageSet
from cifar.loader import AUGMENTED_BYTES, Loader
from cifar.normalization import GIVEN_STATISTICS, normalize
from cifar.prefetch import one_ahead
from cifar.recipe import Augmentation, Recipe

NORMALIZATION = GIVEN_STATISTICS["half"]
AUGMENTATION = Augmentation(crop_padding=4, erasing=0.5, randaugment_ops=1)
ERASING = Augmentation(flip=False, crop_padding=0, erasing=1.0)

pytestmark = pytest.mark.usefixtures("one_thread")


def loader_of(count: int, side: int, batch_size: int, augmentation: Augmentation) -> Loader:
    images = torch.randint(1, 256, (count, 3, side, side), dtype=torch.uint8)
    recipe = Recipe(batch_size=batch_size, augmentation=augmentation)
    return Loader(ImageSet(images, torch.arange(count)), recipe, NORMALIZATION, seed=0)


def batches_of(source: Loader) -> Iterator[tuple[Tensor, Tensor]]:
    return source.batches(torch.Generator().manual_seed(0))


def batches(source: Loader) -> list[tuple[Tensor, Tensor]]:
    return list(batches_of(source))


@pytest.fixture
def augmented(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The images of each augmentation, as it is given them."""
    given: list[Tensor] = []

    def recorded(images: Tensor, *args: Any, **options: Any) -> Tensor:
        given.append(images)
        return augment(images, *args, **options)

    monkeypatch.setattr(loader, "augment", recorded)
    return given


@pytest.mark.parametrize(
    ("side", "batch_size"),
    [
        (224, 111),
        (2400, 2),
        *(pytest.param(*large, marks=pytest.mark.slow) for large in ((224, 128), (96, 700), (600, 17))),
    ],
)
def test_large_images_are_augmented_a_few_at_a_time(augmented: list[Tensor], side: int, batch_size: int) -> None:
    source = loader_of(2 * batch_size, side, batch_size, ERASING)
    found = batches(source)
    assert max(images.nbytes for images in augmented) <= max(AUGMENTED_BYTES, 3 * side**2)
    assert [tuple(images.shape) for images, _ in found] == [(batch_size, 3, side, side)] * 2
    assert sorted(torch.cat([labels for _, labels in found]).tolist()) == list(range(2 * batch_size))
    for images, labels in found:
        kept = images == normalize(source.images[labels], NORMALIZATION)
        assert (kept.float().mean((1, 2, 3)) > 0.5).all()  # each image beside its own label
        assert (kept.float().mean((1, 2, 3)) < 1).sum() > 0.9 * batch_size  # and erased by a rectangle of its own
        rows, columns = kept.all(1).sum(2), kept.all(1).sum(1)
        assert len(torch.unique(torch.cat([rows, columns], 1), dim=0)) > 0.9 * batch_size


@pytest.mark.parametrize("side", [8, 32])
@pytest.mark.parametrize("batch_size", [64, 128, 500, 4000])
def test_images_of_cifars_size_are_those_of_whole_chunks(side: int, batch_size: int) -> None:
    source = loader_of(4100, side, batch_size, AUGMENTATION)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(4100, generator=generator)[: 4100 // batch_size * batch_size]
    chunks = torch.split(order, max(1, 2048 // batch_size) * batch_size)
    seeds = torch.randint(2**63 - 1, (len(chunks),), generator=generator).tolist()
    expected = [
        augment(source.images[chunk], AUGMENTATION, torch.Generator().manual_seed(seed), fill=NORMALIZATION.mean_colour)
        for chunk, seed in zip(chunks, seeds, strict=True)
    ]
    found = torch.cat([images for images, _ in batches(source)])
    assert torch.equal(found, normalize(torch.cat(expected), NORMALIZATION))


def test_nothing_is_made_ahead_on_a_cpu() -> None:
    made: list[int] = []

    def items() -> Iterator[tuple[Tensor, ...]]:
        for i in range(3):
            made.append(i)
            yield (torch.tensor(i),)

    for i, (item,) in enumerate(one_ahead(items(), torch.device("cpu"))):
        assert item == i
        assert made == list(range(i + 1))


class Told:
    """Stands for a stream or an event, and tells what is asked of it."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def wait_stream(self, other: Told) -> None:
        self.log.append(f"{self.name} waits for {other.name}")

    def wait_event(self, event: Told) -> None:
        self.log.append(f"{self.name} waits for {event.name}")

    def record_event(self) -> Told:
        return Told(f"event {sum(line.startswith('made') for line in self.log)}", self.log)


class Item(Told):
    """Stands for a tensor."""

    def record_stream(self, stream: Told) -> None:
        self.log.append(f"{self.name} kept for {stream.name}")


def test_on_cuda_the_next_item_is_begun_before_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of what is asked of the streams, which a CPU can show; that they obey, only a GPU can."""
    log: list[str] = []
    side, current = Told("side", log), Told("current", log)

    @contextmanager
    def on_stream(stream: Told) -> Iterator[None]:
        log.append(f"on {stream.name}")
        yield
        log.append(f"off {stream.name}")

    def items() -> Iterator[tuple[Any, ...]]:
        for i in (1, 2):
            log.append(f"made {i}")
            yield (Item(f"item {i}", log),)

    monkeypatch.setattr(prefetch, "side_stream", lambda _: side)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: current)
    monkeypatch.setattr(torch.cuda, "stream", on_stream)
    for (item,) in one_ahead(items(), torch.device("cuda")):
        log.append(f"used {item.name}")  # type: ignore[attr-defined]
    begun = [["on side", f"made {i}", "off side"] for i in (1, 2)]
    assert log == [
        "side waits for current",
        *begun[0],
        *begun[1],
        "current waits for event 1",
        "item 1 kept for current",
        "used item 1",
        "on side",
        "off side",
        "current waits for event 2",
        "item 2 kept for current",
        "used item 2",
        "current waits for side",
    ]
    log.clear()
    abandoned = one_ahead(items(), torch.device("cuda"))
    next(abandoned)
    del abandoned
    assert log[-1] == "current waits for side"  # before memory that the other item is made of can be overwritten


@pytest.mark.gpu
@pytest.mark.parametrize("side", [32, 224])
def test_cuda_gives_the_cpus_batches_whatever_the_stream_does(side: int) -> None:
    on_cpu = loader_of(1000, side, 100, AUGMENTATION)
    on_gpu = Loader(
        ImageSet(on_cpu.images, on_cpu.labels).to(torch.device("cuda")),
        Recipe(batch_size=100, augmentation=AUGMENTATION),
        NORMALIZATION,
        seed=0,
    )
    busy = torch.randn(4096, 4096, device="cuda")
    for (images, labels), (expected, their) in zip(batches_of(on_gpu), batches_of(on_cpu), strict=True):
        busy = torch.tanh(busy @ busy)  # steps that take longer than the next chunk
        again = images.clone()
        torch.testing.assert_close(again.cpu(), expected)
        assert torch.equal(labels.cpu(), their)


@pytest.mark.gpu
def test_no_pass_over_images_on_cuda_waits_for_the_device() -> None:
    on_cpu = loader_of(5000, 32, 100, Augmentation(crop_padding=4, randaugment_ops=2, erasing=0.5, cutout=8))
    images = ImageSet(on_cpu.images, on_cpu.labels).to(torch.device("cuda"))
    source = Loader(images, Recipe(batch_size=100, augmentation=on_cpu.augmentation), NORMALIZATION, seed=0)
    batches(source)  # constants are copied once
    torch.cuda.set_sync_debug_mode("error")  # waiting raises
    try:
        count = sum(1 for _ in batches_of(source))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert count == source.batches_a_pass
