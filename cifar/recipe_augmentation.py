"""The training-time augmentation of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from cifar.config import SINCE_0_2, require

CropMode = Literal["zero", "reflect"]


@dataclass(frozen=True)
class Augmentation:
    """Training-time augmentation, applied in the order of these fields; choices are drawn for each image alone."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    flip: bool = True
    """Mirror left-right with probability 1/2."""
    alternating_flip: bool = field(default=False, metadata=SINCE_0_2)
    """Mirror each image in every other epoch instead, from a random start (arXiv 2404.00498: alternating flip)."""
    crop_padding: int = 4
    """Random crop of the image's own size after this many zero pixels on each side; 0 is off."""
    crop_mode: CropMode = field(default="zero", metadata=SINCE_0_2)
    """What that crop brings in at the border: zero pixels, or the image reflected (airbench94, with 2 pixels)."""
    brightness: float = 0.0
    """Colour jitter: factor uniform in [1 - x, 1 + x]; likewise contrast and saturation. 0 is off."""
    contrast: float = 0.0
    """See brightness."""
    saturation: float = 0.0
    """See brightness."""
    rotation: float = 0.0
    """Rotation uniform in [-x, x] degrees, nearest pixel, zero fill; 0 is off."""
    randaugment_ops: int = 0
    """Operations an image by RandAugment (arXiv 1909.13719); 0 is off."""
    randaugment_magnitude: int = 9
    """RandAugment's magnitude, 0 to 30 as in torchvision's 31 bins."""
    trivial_augment: bool = False
    """One operation an image at a random strength: TrivialAugmentWide (arXiv 2103.10158)."""
    erasing: float = 0.0
    """Probability of erasing a rectangle to black (arXiv 1708.04896), before normalisation; 0 is off."""
    erasing_area: tuple[float, float] = (0.02, 0.33)
    """Least and greatest area of the erased rectangle, as a fraction of the image."""
    erasing_ratio: tuple[float, float] = (0.3, 3.3)
    """Least and greatest height/width ratio of the erased rectangle."""
    cutout: int = 0
    """Side in pixels of a square set to the training mean (arXiv 1708.04552), clipped at the border; 0 is off."""
    mixup: float = 0.0
    """Alpha of mixup (arXiv 1710.09412), a pair an image; 0 is off. A batch takes one of the mixings that are on."""
    cutmix: float = 0.0
    """Alpha of CutMix (arXiv 1905.04899); 0 is off."""
    ricap: float = field(default=0.0, metadata=SINCE_0_2)
    """Beta of RICAP (arXiv 1811.09030): patches of four images with mixed targets; 0.3 is usual, 0 is off."""
    mixing_probability: float = field(default=1.0, metadata=SINCE_0_2)
    """Share of batches that are mixed, by mixup, CutMix or RICAP; the others stay as they are."""

    @property
    def mixes(self) -> bool:
        """Whether targets are mixed: a batch then has class probabilities instead of labels."""
        return bool(self.mixup or self.cutmix or self.ricap)

    def __post_init__(self) -> None:
        for name in ("crop_padding", "randaugment_ops", "cutout"):
            value = getattr(self, name)
            require(value >= 0, f"augmentation.{name} must be 0 or more", value, "0 switches it off")
        for name in ("brightness", "contrast", "saturation", "erasing"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"augmentation.{name} must be in [0, 1]", value, "0 switches it off")
        require(
            0 <= self.rotation <= 180,
            "augmentation.rotation must be in [0, 180] degrees",
            self.rotation,
            "Try 15",
        )
        require(
            0 <= self.randaugment_magnitude <= 30,
            "augmentation.randaugment_magnitude must be in 0..30",
            self.randaugment_magnitude,
            "9 is usual",
        )
        for name in ("mixup", "cutmix", "ricap"):
            value = getattr(self, name)
            require(value >= 0, f"augmentation.{name} must be 0 or more", value, "0 switches it off")
        require(
            0 < self.mixing_probability <= 1,
            "augmentation.mixing_probability must be in (0, 1]",
            self.mixing_probability,
            "1 mixes every batch; to mix none, set mixup, cutmix and ricap to 0",
        )
        require(
            self.flip or not self.alternating_flip,
            "augmentation.alternating_flip needs flip = true",
            f"flip {self.flip}",
            "Set flip = true, or leave alternating_flip out",
        )
        for name, upper in (("erasing_area", 1.0), ("erasing_ratio", float("inf"))):
            low, high = getattr(self, name)
            require(
                0 < low <= high <= upper,
                f"augmentation.{name} must be two positive numbers, least first",
                (low, high),
                "Keep the default",
            )
