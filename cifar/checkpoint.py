"""Files of weights that are either whole or absent, and a trained model's folder.

Plain `torch.save` to the final name leaves a corrupt file when killed; here a temporary file beside it is synced
and then renamed. Everything is read with `weights_only=True`, which executes nothing. PyTorch writes a ZIP archive, but
does not look at its checksums: they are compared before anything is read.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cifar.candidate import Candidate
from cifar.errors import CheckpointError
from cifar.files import atomic_write, open_plain, read_json, write_json
from cifar.normalization import Normalization

WEIGHTS = "weights.pt"
CANDIDATE = "candidate.json"
MODEL = "model.json"


def save(path: Path, data: dict[str, Any]) -> None:
    """Saves tensors, numbers, strings, lists and dictionaries, whole or not at all."""
    content = io.BytesIO()
    torch.save(data, content)  # into a file it would hide what the system says, such as that the disk is full
    with atomic_write(path) as file:
        file.write(content.getbuffer())


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What `save` wrote.

    Raises:
        CheckpointError: no such file, damaged, or holding anything but plain data.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on damaged files torch warns before it refuses
            _compare_checksums(path)
            data = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise CheckpointError("a weights file must exist", got=path, remedy="Check the path") from None
    except Exception as error:  # what a damaged file raises depends on the damaged byte
        raise CheckpointError(
            f"{path} must be an undamaged weights file", got=_damage(error), remedy="Train again"
        ) from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} must hold a dictionary", got=type(data).__name__, remedy="Train again")
    return data


def _compare_checksums(path: Path) -> None:
    """Compares what is in the archive with its CRC-32 checksums; refuses one that would grow, as PyTorch's do not."""
    with open_plain(path) as file, zipfile.ZipFile(file) as archive:
        if sum(info.file_size for info in archive.infolist()) > path.stat().st_size:
            raise zipfile.BadZipFile("more in it than its size")
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} differs")


def _damage(error: Exception) -> str:
    """What is wrong with a file, in a few words; never torch's advice to read it in a way that may execute code."""
    if isinstance(error, pickle.UnpicklingError):
        return "more in it than tensors, numbers and strings"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@dataclass(frozen=True)
class TrainedModel:
    """A network ready to predict, with what prediction needs."""

    network: nn.Module
    """The trained network."""
    candidate: Candidate
    """The candidate that it is of."""
    normalization: Normalization
    """Channel statistics that its input is normalised by."""
    class_names: tuple[str, ...]
    """Names of the classes, by label."""


def save_model(folder: Path, model: TrainedModel) -> None:
    """Writes weights.pt, candidate.json and model.json (normalisation and class names)."""
    save(folder / WEIGHTS, {key: value.cpu().contiguous() for key, value in model.network.state_dict().items()})
    write_json(folder / CANDIDATE, model.candidate.to_dict())
    details = {
        "mean": list(model.normalization.mean),
        "std": list(model.normalization.std),
        "class_names": list(model.class_names),
    }
    write_json(folder / MODEL, details)


def load_model(folder: Path) -> TrainedModel:
    """The model that `save_model` wrote.

    Raises:
        CheckpointError: the folder is missing one of the files, or one is damaged or of another network.
    """
    candidate = Candidate.from_dict(read_json(folder / CANDIDATE), where=str(folder / CANDIDATE))
    details = read_json(folder / MODEL)
    network = candidate.network.build()
    try:
        network.load_state_dict(load(folder / WEIGHTS))
        normalization = Normalization(mean=tuple(details["mean"]), std=tuple(details["std"]))
        class_names = tuple(details["class_names"])
    except (RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} must hold weights of the network in its {CANDIDATE}",
            got=str(error)[:300],
            remedy="Retrain it",
        ) from None
    return TrainedModel(network.eval(), candidate, normalization, class_names)
