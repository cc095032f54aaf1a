"""A stored candidate in words: network, optimizer, schedule, augmentation and the rest of its training.

Candidates are read from their JSON form, so that those of earlier versions and of own spaces can be described too:
what is missing there is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from search.format import format_lr

JITTER = ("brightness", "contrast", "saturation")
"""Settings of colour jitter, each the greatest relative change."""


def shape(network: Mapping[str, Any]) -> str:
    """Widths, where a stored network has some, and what it is."""
    if "blocks" in network:
        widths = f"{_dashed(network['blocks'])} x {_dashed(network['channels'])}"
        return f"{widths} {network['block']}"
    return f"{_dashed(network.get('widths', ()))} {network.get('kind', '')}".strip()


def in_short(candidate: Mapping[str, Any]) -> str:
    """Network, optimizer and schedule, such as `3-4-3 x 66-132-264 basic, sgd 0.1, cosine`; of others, all of it."""
    network, recipe = parts(candidate)
    if "optimizer" not in recipe:
        return ", ".join(f"{key} {value}" for key, value in candidate.items() if isinstance(value, str | int | float))
    lr = format_lr(recipe["optimizer"]["lr"])
    return f"{shape(network)}, {recipe['optimizer']['name']} {lr}, {recipe['schedule']['name']}"


def in_words(candidate: Mapping[str, Any]) -> dict[str, str]:
    """Network, optimizer, schedule, augmentation, mixing and regularisation, each in words; empty without a recipe."""
    network, recipe = parts(candidate)
    if "optimizer" not in recipe:
        return {}
    return {
        "network": shape(network),
        "optimizer": _optimizer(recipe["optimizer"], recipe),
        "schedule": _schedule(recipe["schedule"], recipe.get("epochs")),
        "augmentation": ", ".join(_augmentation(recipe.get("augmentation", {}))) or "none",
        "mixed images": mixing_words(recipe.get("augmentation", {})) or "none",
        "regularisation": ", ".join(_regularisation(recipe)) or "weight decay only",
    }


def mixing_words(augmentation: Mapping[str, Any]) -> str:
    """The ways of mixing images that are on, such as `mixup (alpha 0.2) or CutMix (alpha 1)`; empty for none."""
    names = {"mixup": ("mixup", "alpha"), "cutmix": ("CutMix", "alpha"), "ricap": ("RICAP", "beta")}
    active = [
        f"{name} ({letter} {augmentation[key]:.3g})"
        for key, (name, letter) in names.items()
        if augmentation.get(key, 0.0)
    ]
    share = augmentation.get("mixing_probability", 1.0)
    batches = f", in {100 * share:.0f} % of batches" if active and share < 1 else ""
    return " or ".join(active) + batches


def parts(candidate: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Network and recipe of a stored candidate, empty where it has none."""
    network, recipe = candidate.get("network", {}), candidate.get("recipe", {})
    return (network, recipe) if isinstance(network, Mapping) and isinstance(recipe, Mapping) else ({}, {})


def _optimizer(optimizer: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    name = {"sgd": "SGD", "adamw": "AdamW", "adam": "Adam", "rmsprop": "RMSprop", "muon": "Muon"}[optimizer["name"]]
    nesterov = "Nesterov " if optimizer.get("nesterov") and optimizer["name"] in ("sgd", "muon") else ""
    momentum = "beta1" if optimizer["name"] in ("adam", "adamw") else "momentum"
    return (
        f"{name}, peak learning rate {format_lr(optimizer['lr'])}, {nesterov}{momentum} {optimizer['momentum']:.3g}, "
        f"weight decay {optimizer['weight_decay']:.3g}, batches of {recipe['batch_size']}"
    )


def _schedule(schedule: Mapping[str, Any], epochs: float | None) -> str:
    warmup = schedule["warmup_epochs"]
    words = {
        "constant": "constant",
        "cosine": "half a cosine down",
        "one_cycle": "one cycle: linear to the peak and down",
        "step": f"times {schedule['gamma']:.3g} every {schedule['step_epochs']:.3g} epochs",
    }[schedule["name"]]
    rise = f", {warmup:.3g} epochs of warm-up" if warmup else ""
    fall = schedule.get("cooldown_epochs", 0.0)
    fall = f", {fall:.3g} epochs of cool-down" if fall else ""
    return f"{words}{rise}{fall}" + (f"; of {epochs:g} epochs in the recipe's full length" if epochs else "")


def _augmentation(held: Mapping[str, Any]) -> Iterator[str]:
    if held.get("flip"):
        yield "alternating flip" if held.get("alternating_flip") else "flip"
    if held.get("crop_padding"):
        border = ", reflected" if held.get("crop_mode") == "reflect" else ""
        yield f"crop ({_pixels(held['crop_padding'])}{border})"
    if jitter := [f"{key} {held[key]:.2g}" for key in JITTER if held.get(key)]:
        yield f"colour jitter ({', '.join(jitter)})"
    if held.get("rotation"):
        yield f"rotation up to {held['rotation']:.3g} degrees"
    if held.get("randaugment_ops"):
        yield f"RandAugment ({held['randaugment_ops']} operations, magnitude {held['randaugment_magnitude']})"
    if held.get("trivial_augment"):
        yield "TrivialAugment"
    if held.get("erasing"):
        yield f"random erasing ({100 * held['erasing']:.0f} % of images)"
    if held.get("cutout"):
        yield f"cutout ({_pixels(held['cutout'])})"


def _pixels(count: int) -> str:
    return f"{count} pixel{'s' * (count != 1)}"


def _regularisation(recipe: Mapping[str, Any]) -> Iterator[str]:
    if recipe.get("label_smoothing"):
        yield f"label smoothing {recipe['label_smoothing']:.2g}"
    if recipe.get("ema_decay"):
        yield f"moving average of weights ({recipe['ema_decay']:g} a step)"
    if recipe.get("lookahead_steps"):
        yield f"Lookahead every {recipe['lookahead_steps']} steps"
    if recipe.get("resolution_start", 1.0) < 1:
        yield f"smaller images first ({100 * recipe['resolution_start']:.0f} % of the side)"


def _dashed(numbers: Any) -> str:
    return "-".join(map(str, numbers))
