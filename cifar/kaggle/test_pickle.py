"""Reads the unlabelled test pickle of a Kaggle competition; `cifar.kaggle.submission` writes the CSV that is submitted.

    accepted   a dict with `data` and, optionally, `ids` (keys bytes or str), or the array alone
    data       uint8, RGB: (N, 32, 32, 3), (N, 3, 32, 32), or flat rows (N, 3072), channels first; other
               sizes too, flat ones if square
    ids        N different integers or texts; 0 to N - 1 if there are none

The shape decides the layout (`cifar.kaggle.layout`); RGB is assumed. The pickle is untrusted input, read by
`cifar.safe_pickle`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cifar.errors import DataError, SubmissionError
from cifar.files import open_plain
from cifar.kaggle.layout import MEANING, Images, Layout, arranged, checked_layout, layout_of
from cifar.kaggle.submission import check_ids, excerpt
from cifar.safe_pickle.reader import load_plain

Ids = tuple[int, ...] | tuple[str, ...]


@dataclass(frozen=True)
class KagglePickle:
    """The unlabelled test set."""

    images: Tensor
    """uint8 (N, 3, H, W), RGB."""
    ids: Ids
    """Ids as the file gives them, in the images' order; 0 to N - 1 if it gives none."""
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
    chosen = layout_of(array.shape) if layout == "auto" else checked_layout(array.shape, layout)
    images, evidence = arranged(array, chosen, trusted=layout != "auto")
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
        with open_plain(path) as file:
            return load_plain(file)
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
        got=f"the keys {', '.join(map(excerpt, list(content)[:10])) or '(none)'}",
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
        raise SubmissionError("the ids must be UTF-8", got=excerpt(value), remedy="Check the pickle") from None
