"""The training settings that the ResNet spaces search: parameters to a recipe, and back.

What is not searched (full length, validation size, normalisation statistics, early stopping) comes from a base recipe.
A name, once given, keeps its range and choices, since stored studies hold it: what came later has names of its own,
and `ADDED` says what trials without it had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optuna.trial import BaseTrial

from cifar.errors import InfeasibleError
from cifar.recipe import Augmentation, Optimizer, OptimizerName, Recipe, Schedule, ScheduleName

# Learning rate, weight decay: usual ranges, each about a decade around the optimizer's common default.
RATES: dict[OptimizerName, tuple[float, float]] = {
    "sgd": (0.02, 1.0),
    "adamw": (3e-4, 1e-2),
    "adam": (3e-4, 1e-2),
}
DECAYS = {"sgd": (1e-5, 5e-3), "adamw": (1e-3, 0.3), "adam": (1e-6, 1e-3)}
MUON_RATE = (0.02, 0.5)  # airbench94_muon has 0.24
MUON_DECAY = (1e-5, 0.2)
MUON_MOMENTUM = (0.5, 0.98)  # airbench94_muon has 0.6
MUON_OTHER_FACTOR = (0.05, 2.0)  # airbench94_muon has 0.22
MUON_HEAD_FACTOR = 13.0  # airbench94_muon's, for a base recipe of another optimizer
BIAS_FACTOR = (1.0, 64.0)  # airbench94 has 64
SCHEDULES: tuple[ScheduleName, ...] = ("cosine", "one_cycle", "step", "constant")
COOLED = ("step", "constant")  # schedules that do not fall to 0 by themselves
BATCH_SIZES = (64, 128, 256)
LARGE_BATCHES = (512, 1024)
EMA_DECAYS = (0.0, 0.99, 0.999)
LOOKAHEAD_STEPS = 5  # arXiv 1907.08610
RESOLUTION_START = (0.6, 0.9)

ADDED: Mapping[str, Any] = {
    "large_batch": False,
    "muon": False,
    "decay_norm_and_bias": True,
    "bias_lr_factor": 1.0,
    "cooldown": False,
    "alternating_flip": False,
    "crop_mode": "zero",
    "ricap": False,
    "mixing_probability": 1.0,
    "lookahead": False,
    "small_images_first": False,
}
"""Parameters that the spaces of version 0.1 lacked, with what their trials had."""


def suggest_recipe(trial: BaseTrial, base: Recipe, *, any_size: bool) -> Recipe:
    """`base` with every searched setting replaced by the trial's.

    Args:
        trial: proposes the settings.
        base: has what is not searched.
        any_size: whether the network takes the small images of progressive resizing.
    """
    batch_size = _suggest_batch(trial)
    return replace(
        base,
        batch_size=batch_size,
        optimizer=_suggest_optimizer(trial, base.optimizer, batch_size),
        schedule=_suggest_schedule(trial, base),
        augmentation=_suggest_augmentation(trial, base.augmentation),
        label_smoothing=trial.suggest_float("label_smoothing", 0.0, 0.2),
        ema_decay=trial.suggest_categorical("ema_decay", EMA_DECAYS),
        lookahead_steps=_suggest_lookahead(trial, base),
        **(_suggest_resizing(trial, base) if any_size else {"resolution_start": 1.0}),
    )


def _suggest_batch(trial: BaseTrial) -> int:
    if trial.suggest_categorical("large_batch", (False, True)):
        return int(trial.suggest_categorical("large_batch_size", LARGE_BATCHES))
    return int(trial.suggest_categorical("batch_size", BATCH_SIZES))


def _rate_factor(name: OptimizerName, batch_size: int) -> float:
    """SGD's rate grows in proportion to large batches (arXiv 1706.02677: linear scaling rule), from 256 images on."""
    return max(1.0, batch_size / max(BATCH_SIZES)) if name == "sgd" else 1.0


def _suggest_optimizer(trial: BaseTrial, base: Optimizer, batch_size: int) -> Optimizer:
    base = replace(
        base,
        decay_norm_and_bias=trial.suggest_categorical("decay_norm_and_bias", (True, False)),
        bias_lr_factor=trial.suggest_float("bias_lr_factor", *BIAS_FACTOR, log=True),
    )
    if trial.suggest_categorical("muon", (False, True)):
        return _suggest_muon(trial, base)
    name: OptimizerName = trial.suggest_categorical("optimizer", tuple(RATES))  # type: ignore[assignment]
    own = Optimizer()  # what only muon has goes back to its default, and so does the head's rate that suits muon
    return replace(
        base,
        name=name,
        lr=trial.suggest_float(f"{name}_lr", *RATES[name], log=True) * _rate_factor(name, batch_size),
        weight_decay=trial.suggest_float(f"{name}_weight_decay", *DECAYS[name], log=True),
        momentum=trial.suggest_float(f"{name}_momentum", 0.8, 0.98),
        nesterov=name == "sgd" and trial.suggest_categorical("nesterov", (True, False)),
        head_lr_factor=own.head_lr_factor if base.name == "muon" else base.head_lr_factor,
        other_lr_factor=own.other_lr_factor,
        other_momentum=own.other_momentum,
        renormalize_filters=own.renormalize_filters,
    )


def _suggest_muon(trial: BaseTrial, base: Optimizer) -> Optimizer:
    return replace(
        base,
        name="muon",
        lr=trial.suggest_float("muon_lr", *MUON_RATE, log=True),
        weight_decay=trial.suggest_float("muon_weight_decay", *MUON_DECAY, log=True),
        momentum=trial.suggest_float("muon_momentum", *MUON_MOMENTUM),
        nesterov=trial.suggest_categorical("muon_nesterov", (True, False)),
        head_lr_factor=base.head_lr_factor if base.name == "muon" else MUON_HEAD_FACTOR,
        other_lr_factor=trial.suggest_float("muon_other_lr_factor", *MUON_OTHER_FACTOR, log=True),
    )


def _suggest_schedule(trial: BaseTrial, base: Recipe) -> Schedule:
    """Durations are proposed as shares of the run and kept in epochs of the base recipe."""
    name: ScheduleName = trial.suggest_categorical("schedule", SCHEDULES)  # type: ignore[assignment]
    warmup = {"cosine": (0.0, 0.3), "one_cycle": (0.05, 0.5), "step": (0.0, 0.1), "constant": (0.0, 0.1)}[name]
    schedule = replace(
        base.schedule,
        name=name,
        warmup_epochs=_clean(base.epochs * trial.suggest_float(f"{name}_warmup_share", *warmup)),
        cooldown_epochs=0.0,
    )
    if name in COOLED and trial.suggest_categorical("cooldown", (False, True)):
        schedule = replace(
            schedule,
            cooldown_epochs=_clean(base.epochs * trial.suggest_float("cooldown_share", 0.1, 0.5)),
            cooldown_shape=trial.suggest_categorical("cooldown_shape", ("linear", "sqrt")),  # type: ignore[arg-type]
        )
    if name != "step":
        return schedule
    return replace(
        schedule,
        step_epochs=_clean(base.epochs * trial.suggest_float("step_share", 0.05, 0.5)),
        gamma=trial.suggest_float("step_gamma", 0.1, 0.8),
    )


def _suggest_lookahead(trial: BaseTrial, base: Recipe) -> int:
    return (base.lookahead_steps or LOOKAHEAD_STEPS) if trial.suggest_categorical("lookahead", (False, True)) else 0


def _suggest_resizing(trial: BaseTrial, base: Recipe) -> dict[str, Any]:
    if not trial.suggest_categorical("small_images_first", (False, True)):
        return {"resolution_start": 1.0}
    return {
        "resolution_start": trial.suggest_float("resolution_start", *RESOLUTION_START),
        "full_resolution_after": trial.suggest_float("full_resolution_after", 0.3, 0.8),
    }


def _suggest_augmentation(trial: BaseTrial, base: Augmentation) -> Augmentation:
    flip, padding = trial.suggest_categorical("flip", (True, False)), trial.suggest_int("crop_padding", 0, 6)
    chosen: dict[str, Any] = {
        "flip": flip,
        "alternating_flip": flip and trial.suggest_categorical("alternating_flip", (False, True)),
        "crop_padding": padding,
        "crop_mode": trial.suggest_categorical("crop_mode", ("zero", "reflect")) if padding else base.crop_mode,
    }
    jitter = trial.suggest_categorical("color_jitter", (False, True))
    for name in ("brightness", "contrast", "saturation"):
        chosen[name] = trial.suggest_float(name, 0.0, 0.5) if jitter else 0.0
    rotates = trial.suggest_categorical("rotation", (False, True))
    chosen["rotation"] = trial.suggest_float("rotation_degrees", 2.0, 30.0) if rotates else 0.0
    chosen |= _suggest_policy(trial, base) | _suggest_occlusion(trial) | _suggest_mixing(trial)
    return replace(base, **chosen)


def _suggest_policy(trial: BaseTrial, base: Augmentation) -> dict[str, Any]:
    policy = trial.suggest_categorical("policy", ("none", "randaugment", "trivial_augment"))
    random = policy == "randaugment"
    return {
        "randaugment_ops": trial.suggest_int("randaugment_ops", 1, 3) if random else 0,
        "randaugment_magnitude": (
            trial.suggest_int("randaugment_magnitude", 2, 15) if random else base.randaugment_magnitude
        ),
        "trivial_augment": policy == "trivial_augment",
    }


def _suggest_occlusion(trial: BaseTrial) -> dict[str, Any]:
    occlusion = trial.suggest_categorical("occlusion", ("none", "erasing", "cutout"))
    return {
        "erasing": trial.suggest_float("erasing_probability", 0.1, 1.0) if occlusion == "erasing" else 0.0,
        "cutout": trial.suggest_int("cutout_pixels", 4, 16) if occlusion == "cutout" else 0,
    }


def _suggest_mixing(trial: BaseTrial) -> dict[str, Any]:
    """RICAP, or mixup and CutMix; and the share of batches that they mix."""
    mixed: dict[str, Any] = {"mixup": 0.0, "cutmix": 0.0, "ricap": 0.0}
    if trial.suggest_categorical("ricap", (False, True)):
        mixed["ricap"] = trial.suggest_float("ricap_beta", 0.1, 1.0)
    else:
        mixing = trial.suggest_categorical("mixing", ("none", "mixup", "cutmix", "both"))
        for name in ("mixup", "cutmix"):
            if mixing in (name, "both"):
                mixed[name] = trial.suggest_float(f"{name}_alpha", 0.1, 1.0)
    if any(mixed.values()):
        mixed["mixing_probability"] = trial.suggest_float("mixing_probability", 0.1, 1.0)
    return mixed


def encode_recipe(recipe: Recipe) -> dict[str, Any]:
    """Parameters that `suggest_recipe` turns into the recipe, if it lies inside the space and is its own base.

    Raises:
        InfeasibleError: the learning rate is yet to be found.
    """
    schedule, large = recipe.schedule, recipe.batch_size > max(BATCH_SIZES)
    return {
        "large_batch": large,
        "large_batch_size" if large else "batch_size": recipe.batch_size,
        "label_smoothing": recipe.label_smoothing,
        "ema_decay": recipe.ema_decay,
        "lookahead": recipe.lookahead_steps > 0,
        "small_images_first": recipe.resolution_start < 1,
        "resolution_start": recipe.resolution_start,
        "full_resolution_after": recipe.full_resolution_after,
        **_encode_optimizer(recipe.optimizer, recipe.batch_size),
        "schedule": schedule.name,
        f"{schedule.name}_warmup_share": schedule.warmup_epochs / recipe.epochs,
        "step_share": schedule.step_epochs / recipe.epochs,
        "step_gamma": schedule.gamma,
        "cooldown": schedule.cooldown_epochs > 0,
        "cooldown_share": schedule.cooldown_epochs / recipe.epochs,
        "cooldown_shape": schedule.cooldown_shape,
        **_encode_augmentation(recipe.augmentation),
    }


def _encode_optimizer(optimizer: Optimizer, batch_size: int) -> dict[str, Any]:
    if isinstance(optimizer.lr, str):
        raise InfeasibleError(
            "a warm start needs optimizer.lr as a number",
            got=repr(optimizer.lr),
            remedy="Give the rate that python -m search.lr_range suggests",
        )
    name, muon = optimizer.name, optimizer.name == "muon"
    return {
        "muon": muon,
        "decay_norm_and_bias": optimizer.decay_norm_and_bias,
        "bias_lr_factor": optimizer.bias_lr_factor,
        f"{name}_lr": optimizer.lr / _rate_factor(name, batch_size),
        f"{name}_weight_decay": optimizer.weight_decay,
        f"{name}_momentum": optimizer.momentum,
        "muon_nesterov" if muon else "nesterov": optimizer.nesterov,
        **({"muon_other_lr_factor": optimizer.other_lr_factor} if muon else {"optimizer": name}),
    }


def _encode_augmentation(aug: Augmentation) -> dict[str, Any]:
    return {
        "flip": aug.flip,
        "alternating_flip": aug.alternating_flip,
        "crop_padding": aug.crop_padding,
        "crop_mode": aug.crop_mode,
        "color_jitter": max(aug.brightness, aug.contrast, aug.saturation) > 0,
        "brightness": aug.brightness,
        "contrast": aug.contrast,
        "saturation": aug.saturation,
        "rotation": aug.rotation > 0,
        "rotation_degrees": aug.rotation,
        "policy": "trivial_augment" if aug.trivial_augment else "randaugment" if aug.randaugment_ops else "none",
        "randaugment_ops": aug.randaugment_ops,
        "randaugment_magnitude": aug.randaugment_magnitude,
        "occlusion": "erasing" if aug.erasing else "cutout" if aug.cutout else "none",
        "erasing_probability": aug.erasing,
        "cutout_pixels": aug.cutout,
        "ricap": aug.ricap > 0,
        "ricap_beta": aug.ricap,
        "mixing": {(0, 0): "none", (1, 0): "mixup", (0, 1): "cutmix", (1, 1): "both"}[
            bool(aug.mixup), bool(aug.cutmix)
        ],
        "mixup_alpha": aug.mixup,
        "cutmix_alpha": aug.cutmix,
        "mixing_probability": aug.mixing_probability,
    }


def _clean(epochs: float) -> float:
    """Epochs without the last bits' noise of share x length, so that 10 / 60 x 60 is 10."""
    return round(epochs, 9)
