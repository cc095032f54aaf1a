"""Weights that others trained: torchvision's for ImageNet or a file's, checked before they are loaded."""

from __future__ import annotations

import http.client
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from cifar.errors import CheckpointError, DataError
from cifar.runtime.download import socket_timeout

SHOWN_MISMATCHES = 3


def imagenet_weights(architecture: str) -> dict[str, Tensor]:
    """Torchvision's official IMAGENET1K_V1 state dict, from torch's download cache or the network.

    Raises:
        DataError: the download failed.
    """
    weights = get_model_weights(architecture)["IMAGENET1K_V1"]
    try:
        with socket_timeout():
            state: dict[str, Tensor] = weights.get_state_dict(
                progress=False, check_hash=True, map_location="cpu", weights_only=True
            )
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, http.client.HTTPException) as error:
        raise DataError(
            f"the ImageNet weights of {architecture} are downloaded, and must arrive whole",
            got=f"{weights.url}: {str(error) or type(error).__name__}",
            remedy="Try again with a network, or give a torchvision state dict by --weights FILE",
        ) from None
    return state


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The state dict in a file; nothing in the file is executed.

    Raises:
        CheckpointError: no such file, or it holds anything but tensors by name.
    """
    remedy = "Give a state dict of torchvision, saved by torch.save(model.state_dict(), FILE)"
    try:
        state = torch.load(path.expanduser(), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError("--weights must be a file that exists", got=path, remedy="Check the path") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError, KeyError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} must be an undamaged weights file", got=reason, remedy=remedy) from None
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path} must hold tensors by name", got=_contents(state), remedy=remedy)
    return dict(state)


def _contents(state: object) -> str:
    if isinstance(state, Mapping):
        return f"a dictionary with the keys {', '.join(map(str, list(state)[:5]))}" if state else "an empty dictionary"
    return type(state).__name__


def load_weights(network: nn.Module, state: Mapping[str, Tensor], source: str, *, head: str) -> None:
    """Loads `state`; a last layer of another number of classes is left out, so that the network's own stays.

    Args:
        network: gets the weights.
        state: of the same architecture, for any number of classes.
        source: where the weights come from, for errors.
        head: name of the last layer.

    Raises:
        CheckpointError: keys or shapes differ; the first differences are listed.
    """
    own, state = network.state_dict(), dict(state)
    given, wanted = (_shape(weights, f"{head}.weight") for weights in (state, own))
    if given != wanted and given[1:] == wanted[1:]:
        state |= {key: own[key] for key in own if key.startswith(f"{head}.")}
    for key in own:
        if key.endswith("num_batches_tracked"):  # absent from files of the first versions of PyTorch
            state.setdefault(key, own[key])
    found = _mismatches(own, state)
    if found:
        more = f"; and {len(found) - SHOWN_MISMATCHES} more" if len(found) > SHOWN_MISMATCHES else ""
        raise CheckpointError(
            "weights must be a state dict of the same network",
            got=f"{source}: {'; '.join(found[:SHOWN_MISMATCHES])}{more}",
            remedy="Give the file of that architecture, or change network.architecture in the recipe",
        )
    network.load_state_dict(state)


def _mismatches(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """In words, in the network's order, then keys that it lacks."""
    found = []
    for key, value in own.items():
        if key not in state:
            found.append(f"{key} is missing")
        elif state[key].shape != value.shape:
            found.append(f"{key} has the shape {tuple(state[key].shape)} instead of {tuple(value.shape)}")
    return found + [f"{key} is not in the network" for key in state if key not in own]


def _shape(state: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    return tuple(state[key].shape) if key in state else ()
