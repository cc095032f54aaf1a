"""Reads the unlabelled test pickle of a Kaggle competition; `cifar.kaggle.submission` writes the CSV that is submitted.

    accepted   a dict with `data` and, optionally, `ids` (keys bytes or str), or the array alone
    data       uint8, RGB: (N, 32, 32, 3), (N, 3, 32, 32), or flat rows (N, 3072), channels first; other
               sizes too, flat ones if square
    ids        N different integers or texts; 0 to N - 1 if there are none

The shape decides the layout, and the pixels must not contradict it: neighbouring pixels of a photograph are
alike, so values read in the wrong order look far rougher (2.1 to 2.7 times on CIFAR-10). Whether the channels
are RGB or BGR cannot be seen: RGB is assumed. The pickle is untrusted input, read by `cifar.kaggle.safe_pickle`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cifar.errors import DataError, SubmissionError
from cifar.kaggle import safe_pickle
from cifar.kaggle.submission import check_ids, shown

Layout = Literal["auto", "hwc", "chw", "flat_chw", "flat_hwc"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
MEANING: dict[Layout, str] = {
    "hwc": "height, width, channels (HWC)",
    "chw": "channels, height, width (CHW)",
    "flat_chw": "flat rows of channels, height, width (CHW)",
    "flat_hwc": "flat rows of height, width, channels (HWC)",
}
CHANNELS = ("red", "green", "blue")

ROUGHNESS_MARGIN = 1.25
"""A reading this much rougher than the other counts as wrong. CIFAR-10 gives 2.1 to 2.7, noise 1.0."""
ROUGHNESS_IMAGES = 1000
ROUGHNESS_VALUES = 1000
"""Roughness is measured on about this many images, and is no evidence on fewer values than this."""
NOTABLE_SHIFT = 0.1
"""In units of the training set's standard deviation. CIFAR-10's own test set shifts by less than 0.02."""

Ids = tuple[int, ...] | tuple[str, ...]
Images = npt.NDArray[np.uint8]


# ------------------------------------------------------------------------------------------- the test pickle


@dataclass(frozen=True)
class KagglePickle:
    """The unlabelled test set."""

    images: Tensor
    """uint8 (N, 3, H, W), RGB."""
    ids: Ids
    """As the file gives them, in the images' order; 0 to N - 1 if it gives none."""
    layout: str
    """A sentence for people: the array's shape, how it was read, and where the ids come from."""


def read_pickle(path: Path, layout: Layout = "auto") -> KagglePickle:
    """The images and ids of a Kaggle test pickle.

    Args:
        path: the pickle; nothing in it is executed.
        layout: the order of the array's values; auto goes by its shape and refuses if the pixels contradict.

    Raises:
        SubmissionError: the file is missing, no plain pickle, or not a test set in an accepted form.
    """
    content = _load(path)
    array = _checked_array(content if isinstance(content, np.ndarray) else _entry(content, "data", path), path)
    chosen = _layout_of(array.shape) if layout == "auto" else _checked_layout(array.shape, layout)
    images, evidence = _images(array, chosen, trusted=layout != "auto")
    given = _entry(content, "ids", path, required=False) if isinstance(content, dict) else None
    ids = tuple(range(len(images))) if given is None else _checked_ids(given, len(images))
    source = "no ids in the file: numbered from 0" if given is None else f"ids {ids[0]} to {ids[-1]}"
    return KagglePickle(
        images=torch.from_numpy(np.ascontiguousarray(images)),
        ids=ids,
        layout=f"{array.shape} uint8: {MEANING[chosen]}{evidence}, RGB assumed; {source}",
    )


def _load(path: Path) -> object:
    try:
        with path.open("rb") as file:
            return safe_pickle.load(file)
    except OSError as error:
        raise SubmissionError(
            "the test pickle must be a readable file",
            got=f"{path}: {error.strerror}",
            remedy="Give the path of the competition's .pkl file",
        ) from error
    except DataError as error:
        raise SubmissionError(
            "the test pickle must hold plain data only",
            got=f"{path}: {str(error).rstrip('.')}",
            remedy="The competition's own file is a dict of `data` and `ids`",
        ) from error


def _entry(content: object, name: str, path: Path, required: bool = True) -> Any:
    """The value of a key that is bytes (Python 2's `str`) or str."""
    if not isinstance(content, dict):
        raise SubmissionError(
            "the test pickle must be a dict with the key `data`, or an array",
            got=f"a {type(content).__name__} in {path}",
            remedy="Check that it is the competition's test set",
        )
    found = [key for key in (name, name.encode()) if key in content]
    if len(found) == 1 or not (found or required):
        return content[found[0]] if found else None
    raise SubmissionError(
        f"the test pickle must have one key `{name}`",
        got=f"the keys {', '.join(map(shown, list(content)[:10])) or '(none)'}",
        remedy="Check that it is the competition's unlabelled test set, not another of its files",
    )


def _checked_array(data: Any, path: Path) -> Images:
    if not isinstance(data, np.ndarray):
        raise SubmissionError(
            "the images must be a numpy array",
            got=f"a {type(data).__name__} in {path}",
            remedy="Store them as one uint8 array",
        )
    if data.dtype != np.uint8:
        raise SubmissionError(
            "the images must be uint8, 0 to 255",
            got=f"{data.dtype}",
            remedy="Undo their scaling or normalisation and store them with .astype('uint8')",
        )
    if data.size == 0:
        raise SubmissionError("there must be at least one image", got=f"an array {data.shape}", remedy="Check the file")
    return data


def _fits(shape: tuple[int, ...], layout: Layout) -> bool:
    if layout in ("flat_chw", "flat_hwc"):
        return len(shape) == 2 and 3 < shape[1] == 3 * math.isqrt(shape[1] // 3) ** 2
    return len(shape) == 4 and shape[3 if layout == "hwc" else 1] == 3


def _layout_of(shape: tuple[int, ...]) -> Layout:
    """The layout that the shape says; flat rows are channels first, as in CIFAR-10's own batches."""
    documented: tuple[Layout, ...] = ("hwc", "chw", "flat_chw")
    fitting = [layout for layout in documented if _fits(shape, layout)]
    if len(fitting) != 1:
        raise SubmissionError(
            "the images must be an array (N, 32, 32, 3), (N, 3, 32, 32) or (N, 3072)",
            got=f"an array {shape}{', which may be either' if fitting else ''}",
            remedy=f"Name the layout: {' or '.join(fitting)}" if fitting else "Reshape the array",
        )
    return fitting[0]


def _checked_layout(shape: tuple[int, ...], layout: Layout) -> Layout:
    if not _fits(shape, layout):
        raise SubmissionError(
            f"images of layout {layout} must be {MEANING[layout]}",
            got=f"an array {shape}",
            remedy="Name the layout that the array has, or auto",
        )
    return layout


def _images(array: Images, layout: Layout, trusted: bool) -> tuple[Images, str]:
    """Images (N, 3, H, W), and what their pixels say about the layout.

    Args:
        trusted: whether the user named the layout: then contradicting pixels are told, not refused.
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


def _checked_ids(given: Any, count: int) -> Ids:
    """`count` different integers or texts, as Python's own."""
    if isinstance(given, np.ndarray) and given.ndim == 1:
        given = given.tolist()
    if not isinstance(given, list | tuple):
        raise SubmissionError(
            "the ids must be a list or a one-dimensional array",
            got=f"{given.shape} {given.dtype}" if isinstance(given, np.ndarray) else f"a {type(given).__name__}",
            remedy="Check the key `ids` of the pickle",
        )
    if len(given) != count:
        raise SubmissionError(
            "there must be one id an image",
            got=f"{len(given)} ids for {count} images",
            remedy="The file is damaged or put together wrongly: download it again",
        )
    ids = [_text(value) if isinstance(value, bytes) else value for value in given]
    kinds = {type(value) for value in ids}
    if kinds not in ({int}, {str}):
        raise SubmissionError(
            "the ids must be all integers or all texts",
            got=", ".join(sorted(kind.__name__ for kind in kinds)),
            remedy="Check the key `ids` of the pickle",
        )
    check_ids(ids)
    return tuple(ids)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise SubmissionError("the ids must be UTF-8", got=shown(value), remedy="Check the pickle") from None


# ----------------------------------------------------------------------------------- shift of the statistics


@dataclass(frozen=True)
class ShiftReport:
    """Channel statistics of a set of images beside those of the training set, all of values in [0, 1]."""

    mean: tuple[float, ...]
    """Of the set, in RGB order, as are all."""
    std: tuple[float, ...]
    training_mean: tuple[float, ...]
    training_std: tuple[float, ...]

    @property
    def shift(self) -> tuple[float, ...]:
        """Difference of the means, in units of the training set's standard deviation."""
        rows = zip(self.mean, self.training_mean, self.training_std, strict=True)
        return tuple((mean - training) / unit for mean, training, unit in rows)

    @property
    def contrast(self) -> tuple[float, ...]:
        """Standard deviation as a multiple of the training set's."""
        return tuple(std / training for std, training in zip(self.std, self.training_std, strict=True))

    @property
    def notable(self) -> bool:
        """Whether a mean or a standard deviation differs by more than `NOTABLE_SHIFT` training deviations."""
        return max(map(abs, self.shift)) > NOTABLE_SHIFT or max(abs(c - 1) for c in self.contrast) > NOTABLE_SHIFT

    def lines(self) -> list[str]:
        """A small table, and what it means."""
        head = "channel  mean (training)  std (training)   shift in training std"
        rows = [
            f"{channel:7}  {mean:.4f} ({training_mean:.4f})  {std:.4f} ({training_std:.4f})  {shift:+.2f}"
            for channel, mean, training_mean, std, training_std, shift in zip(
                CHANNELS, self.mean, self.training_mean, self.std, self.training_std, self.shift, strict=True
            )
        ]
        verdict = (
            "the images differ from the training set: normalising them by their own mean and std may help"
            if self.notable
            else "the images are much like the training set"
        )
        return [head, *rows, verdict]


def normalisation_shift(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> ShiftReport:
    """How far the channel statistics of images are from those of the training set.

    Args:
        images: uint8 (N, 3, H, W), at least one.
        mean: of the training set, a channel, of values in [0, 1].
        std: likewise; positive.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not images.numel():
        raise ValueError(f"images must be uint8 (N, 3, H, W), got {images.dtype} {tuple(images.shape)}")
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"three means and positive standard deviations are needed, got {mean} and {std}")
    counts = torch.stack([torch.bincount(images[:, channel].flatten(), minlength=256) for channel in range(3)])
    shares = counts.double() / counts[0].sum()
    values = torch.arange(256, dtype=torch.float64) / 255
    means = shares @ values
    deviations = (shares * (values - means[:, None]) ** 2).sum(dim=1).sqrt()
    return ShiftReport(tuple(means.tolist()), tuple(deviations.tolist()), tuple(mean), tuple(std))
