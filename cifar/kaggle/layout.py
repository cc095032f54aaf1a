"""The order of the values in an array of images, and whether the pixels agree with it.

The shape decides the layout, and the pixels must not contradict it: neighbouring pixels of a photograph are
alike, so values read in the wrong order look far rougher (2.1 to 2.7 times on CIFAR-10). Whether the channels
are RGB or BGR cannot be seen.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from cifar.errors import SubmissionError

Layout = Literal["auto", "hwc", "chw", "flat_chw", "flat_hwc"]
MEANING: dict[Layout, str] = {
    "hwc": "height, width, channels (HWC)",
    "chw": "channels, height, width (CHW)",
    "flat_chw": "flat rows of channels, height, width (CHW)",
    "flat_hwc": "flat rows of height, width, channels (HWC)",
}

ROUGHNESS_MARGIN = 1.25
"""A reading this much rougher than the other counts as wrong. CIFAR-10 gives 2.1 to 2.7, noise 1.0."""
ROUGHNESS_IMAGES = 1000
ROUGHNESS_VALUES = 1000
"""Roughness is measured on about this many images, and is no evidence on fewer values than this."""

Images = npt.NDArray[np.uint8]


def layout_of(shape: tuple[int, ...]) -> Layout:
    """The layout that the shape says; flat rows are channels first, as in CIFAR-10's own batches.

    Raises:
        SubmissionError: it says none, or may be either.
    """
    documented: tuple[Layout, ...] = ("hwc", "chw", "flat_chw")
    fitting = [layout for layout in documented if _fits(shape, layout)]
    if len(fitting) != 1:
        raise SubmissionError(
            "the images must be an array (N, 32, 32, 3), (N, 3, 32, 32) or (N, 3072)",
            got=f"an array {shape}{', which may be either' if fitting else ''}",
            remedy=f"Name the layout: {' or '.join(fitting)}" if fitting else "Reshape the array",
        )
    return fitting[0]


def checked_layout(shape: tuple[int, ...], layout: Layout) -> Layout:
    """The layout that the user named, if the shape allows it.

    Raises:
        SubmissionError: it does not.
    """
    if not _fits(shape, layout):
        raise SubmissionError(
            f"images of layout {layout} must be {MEANING[layout]}",
            got=f"an array {shape}",
            remedy="Name the layout that the array has, or auto",
        )
    return layout


def arranged(array: Images, layout: Layout, trusted: bool) -> tuple[Images, str]:
    """Images (N, 3, H, W), and what their pixels say about the layout.

    Args:
        array: as the file has it.
        layout: that its shape fits.
        trusted: whether the user named the layout: then pixels that contradict it are reported, not refused.

    Raises:
        SubmissionError: the pixels contradict the layout.
    """
    channels_first = layout in ("chw", "flat_chw")
    height, width = _size(array.shape, layout)
    rows = array.reshape(len(array), -1)
    images = _arranged(rows, height, width, channels_first)
    sample = rows[:: math.ceil(len(rows) / ROUGHNESS_IMAGES)]
    roughness = _roughness(_arranged(sample, height, width, channels_first))
    otherwise = _roughness(_arranged(sample, height, width, not channels_first))
    if sample.size >= ROUGHNESS_VALUES and otherwise > ROUGHNESS_MARGIN * roughness:
        return images, ""
    if sample.size < ROUGHNESS_VALUES or roughness <= ROUGHNESS_MARGIN * otherwise:
        return images, " (by its shape: the pixels are no evidence)"
    if trusted:
        return images, " (as asked, though its pixels look scrambled)"
    raise _contradiction(array.shape, layout, roughness / max(otherwise, 1.0))


def _contradiction(shape: tuple[int, ...], layout: Layout, times: float) -> SubmissionError:
    order = "height, width, channels" if layout in ("chw", "flat_chw") else "channels, height, width"
    remedy = (
        "If the rows are height, width, channels, name the layout flat_hwc; if not, flat_chw"
        if layout == "flat_chw"
        else f"It was probably reshaped in the wrong order; to read it as it stands name the layout {layout}"
    )
    return SubmissionError(
        f"an array {shape} is read as {MEANING[layout]}, and its pixels must not contradict that",
        got=f"images {min(times, 999):.1f} times as rough as in the order {order}",
        remedy=remedy,
    )


def _size(shape: tuple[int, ...], layout: Layout) -> tuple[int, int]:
    """Height and width in pixels."""
    if layout in ("flat_chw", "flat_hwc"):
        return (math.isqrt(shape[1] // 3),) * 2
    return (shape[1], shape[2]) if layout == "hwc" else (shape[2], shape[3])


def _arranged(rows: Images, height: int, width: int, channels_first: bool) -> Images:
    """(N, 3 * H * W) as (N, 3, H, W)."""
    if channels_first:
        return rows.reshape(-1, 3, height, width)
    return rows.reshape(-1, height, width, 3).transpose(0, 3, 1, 2)


def _roughness(images: Images) -> float:
    """Sum of the differences of horizontal and vertical neighbours in images (N, 3, H, W)."""
    values = images.astype(np.int16)
    return float(sum(np.abs(np.diff(values, axis=axis)).sum(dtype=np.int64) for axis in (2, 3)))


def _fits(shape: tuple[int, ...], layout: Layout) -> bool:
    if layout in ("flat_chw", "flat_hwc"):
        return len(shape) == 2 and 3 < shape[1] == 3 * math.isqrt(shape[1] // 3) ** 2
    return len(shape) == 4 and shape[3 if layout == "hwc" else 1] == 3
