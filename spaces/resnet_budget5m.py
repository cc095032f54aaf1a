"""ResNets under a parameter limit, together with optimizer, schedule, regularisation and augmentation.

The limit is kept by construction: depths, block type and width ratios are proposed, and the width is solved so that
the network fills the proposed share of the limit (`spaces.width`). The same space under other limits:
`--param-budget 300k`, `--mac-budget 25M`, or the siblings below.

What is not searched (full length, validation size, normalisation statistics, early stopping) comes from a base
recipe: `resnet_fast`, or the recipe that a warm start names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optuna.trial import BaseTrial, FixedTrial, create_trial

from cifar.candidate import Candidate
from cifar.errors import InfeasibleError
from cifar.networks.registry import NetworkConfig
from cifar.networks.resnet import ResNetConfig
from cifar.networks.resnet_block import ActivationName, BlockName
from cifar.recipe import Augmentation, Optimizer, OptimizerName, Recipe, Schedule, ScheduleName, recipe_names
from spaces.base import Problem, SearchSpace, WarmStart
from spaces.width import MIN_WIDTH, Limits, round_width, widest

BASE_RECIPE = "resnet_fast"
RECIPE_ATTRIBUTE = "recipe"  # user attribute of a warm start: the recipe that it stands for

STAGES = (3, 4)
MAX_BLOCKS = 6  # a stage, where the limits have room for it
USUAL_WIDTHS = (14, 28, 56)  # channels a stage; a depth that leaves a plain network less is not proposed
WIDTH_RATIO = (1.0, 2.5)  # width of a stage to that of the one before
STEM_RATIO = (0.25, 2.0)  # width of the stem to that of the first stage
UNUSED_SHARE = (0.001, 0.98)  # share of the limits left unused, logarithmic: most proposals come close to them
BLOCKS: tuple[BlockName, ...] = ("basic", "preact", "bottleneck")
KERNELS = (3, 5)
SHORTCUT_KERNELS = (1, 3)
POOLS = (0, 2, 4)  # 0 is global
ACTIVATIONS: tuple[ActivationName, ...] = ("relu", "silu", "gelu", "leaky_relu")
WIDTH_MULTIPLE = 8  # hardware multiplies such widths faster; only a warm start keeps its own to the channel

# Learning rate, weight decay: usual ranges, each about a decade around the optimizer's common default.
RATES: dict[OptimizerName, tuple[float, float]] = {
    "sgd": (0.02, 1.0),
    "adamw": (3e-4, 1e-2),
    "adam": (3e-4, 1e-2),
}
DECAYS = {"sgd": (1e-5, 5e-3), "adamw": (1e-3, 0.3), "adam": (1e-6, 1e-3)}
SCHEDULES: tuple[ScheduleName, ...] = ("cosine", "one_cycle", "step", "constant")
BATCH_SIZES = (64, 128, 256)
EMA_DECAYS = (0.0, 0.99, 0.999)


class ResNetSpace(SearchSpace):
    """ResNets that keep hard limits.

    Args:
        problem: classes and image size of the data; limits, the parameter limit 5,000,000 unless given.
        max_blocks: most blocks a stage; lowered for limits that leave so deep networks no width.

    Raises:
        InfeasibleError: no network of every shape fits, however narrow.
    """

    def __init__(self, problem: Problem, *, param_budget: int = 5_000_000, max_blocks: int = MAX_BLOCKS) -> None:
        self.problem = problem
        self.limits = Limits(problem.param_budget or param_budget, problem.mac_budget)
        self.param_budget, self.mac_budget = self.limits.parameters, self.limits.macs
        self.max_blocks = self._deepest(max_blocks)

    def _deepest(self, max_blocks: int) -> int:
        """Most blocks a stage with which a plain network has its usual width and every other one can be built."""
        for blocks in range(max_blocks, 1, -1):
            plain = ResNetConfig(blocks=(blocks,) * 3, channels=USUAL_WIDTHS, stem=USUAL_WIDTHS[0])
            shapes = [plain.with_classes(self.problem.num_classes, self.problem.image_size), *self._narrowest(blocks)]
            if all(self.limits.allow(network.cost()) for network in shapes):
                return blocks
        for network in self._narrowest(1):
            if not self.limits.allow(network.cost()):
                raise InfeasibleError(
                    f"this space needs limits of at least {network.cost().parameters:,} parameters and "
                    f"{network.cost().macs:,} MACs",
                    got=f"{self.limits.parameters:,} parameters and {self.limits.macs or 'any number of'} MACs",
                    remedy="Raise --param-budget or --mac-budget",
                )
        return 1

    def _narrowest(self, blocks: int) -> list[ResNetConfig]:
        """The narrowest networks of this many blocks a stage, of the costliest kernels: every proposal can be one."""
        return [
            ResNetConfig(
                blocks=(blocks,) * stages,
                channels=(MIN_WIDTH,) * stages,
                stem=MIN_WIDTH,
                block=block,
                kernel=max(KERNELS),
                shortcut_kernel=max(SHORTCUT_KERNELS),
                pool=1,
                squeeze_excitation=True,
                num_classes=self.problem.num_classes,
                image_size=self.problem.image_size,
            )
            for stages in STAGES
            for block in BLOCKS
        ]

    def suggest(self, trial: BaseTrial) -> Candidate:
        """The candidate of the trial's parameters; its network keeps the limits."""
        name = trial.user_attrs.get(RECIPE_ATTRIBUTE, BASE_RECIPE)
        multiple = 1 if RECIPE_ATTRIBUTE in trial.user_attrs else WIDTH_MULTIPLE
        return Candidate(self._network(trial, multiple), _suggest_recipe(trial, Candidate.named(name).recipe))

    def _network(self, trial: BaseTrial, multiple: int) -> ResNetConfig:
        stages = trial.suggest_categorical("stages", STAGES)
        blocks = tuple(trial.suggest_int(f"blocks_{i}", 1, self.max_blocks) for i in range(1, stages + 1))
        ratios = [1.0]
        for i in range(2, stages + 1):
            ratios.append(ratios[-1] * trial.suggest_float(f"width_ratio_{i}", *WIDTH_RATIO))
        stem_ratio = trial.suggest_float("stem_ratio", *STEM_RATIO)
        drop = trial.suggest_categorical("stochastic_depth", (False, True))
        shape = ResNetConfig(
            blocks=blocks,
            channels=(MIN_WIDTH,) * stages,
            stem=MIN_WIDTH,
            block=trial.suggest_categorical("block", BLOCKS),  # type: ignore[arg-type]
            kernel=trial.suggest_categorical("kernel", KERNELS),
            shortcut_kernel=trial.suggest_categorical("shortcut_kernel", SHORTCUT_KERNELS),
            pool=self._pool(trial, stages),
            squeeze_excitation=trial.suggest_categorical("squeeze_excitation", (False, True)),
            activation=trial.suggest_categorical("activation", ACTIVATIONS),  # type: ignore[arg-type]
            dropout=trial.suggest_float("dropout", 0.0, 0.5),
            stochastic_depth=trial.suggest_float("stochastic_depth_rate", 0.02, 0.3) if drop else 0.0,
            num_classes=self.problem.num_classes,
            image_size=self.problem.image_size,
        )

        def at(scale: float) -> ResNetConfig:
            channels = tuple(round_width(scale * ratio, multiple) for ratio in ratios)
            return replace(shape, channels=channels, stem=round_width(scale * stem_ratio, multiple))

        return widest(at, self.limits, 1 - trial.suggest_float("unused_share", *UNUSED_SHARE, log=True))

    def _pool(self, trial: BaseTrial, stages: int) -> int:
        """P, or 0 (global) where the last map is no larger than the proposed P."""
        pool = trial.suggest_categorical("pool", POOLS)
        map_size = replace(
            ResNetConfig(), blocks=(1,) * stages, channels=(1,) * stages, image_size=self.problem.image_size
        ).map_size
        return pool if pool < map_size else 0

    def warm_starts(self) -> list[WarmStart]:
        """Our own starting point at the full limits, then every built-in recipe that lies inside the space."""
        starts = [self._scaled_base()]
        for name in recipe_names():
            if name == BASE_RECIPE:
                continue
            candidate = Candidate.named(name).for_data(self.problem.num_classes, self.problem.image_size)
            try:
                params = self.encode(candidate)
            except InfeasibleError:
                continue
            starts.append(WarmStart(name, params, {RECIPE_ATTRIBUTE: name}))
        return starts

    def _scaled_base(self) -> WarmStart:
        base = Candidate.named(BASE_RECIPE)
        params = _encode_network(base.network) | _encode_recipe(base.recipe) | {"unused_share": UNUSED_SHARE[0]}
        params |= {name: min(params[name], self.max_blocks) for name in params if name.startswith("blocks_")}
        return WarmStart(f"{BASE_RECIPE} (scaled to the limits)", params)

    def encode(self, candidate: Candidate) -> dict[str, Any]:
        """The parameters that `suggest` turns into this very candidate, given its recipe's name for the base.

        Raises:
            InfeasibleError: the network breaks a limit, or something of the candidate lies outside the space.
        """
        if not self.limits.allow(candidate.cost):
            raise InfeasibleError(
                f"a network must have at most {self.limits.parameters:,} parameters and "
                f"{self.limits.macs or 'any number of'} MACs",
                got=f"{candidate.cost.parameters:,} parameters and {candidate.cost.macs:,} MACs",
                remedy="It is for reference only; raise the limit to search around it",
            )
        params = _encode_network(candidate.network) | _encode_recipe(candidate.recipe)
        params["unused_share"] = 1 - self.limits.share_of(candidate.cost)
        decoded = self._decode(params, candidate)
        if decoded != candidate:
            raise InfeasibleError(
                "every setting of the candidate must lie inside the space",
                got=candidate.network,
                remedy="Adapt it",
            )
        return params

    def _decode(self, params: Mapping[str, Any], candidate: Candidate) -> Candidate | None:
        """What `params` stand for with the candidate's recipe as base; None where one is outside its range."""
        trial = FixedTrial(dict(params))
        try:
            decoded = Candidate(self._network(trial, 1), _suggest_recipe(trial, candidate.recipe))
            create_trial(value=0.0, params=trial.params, distributions=trial.distributions)
        except ValueError:  # what FixedTrial raises for a missing parameter, create_trial for one outside its range
            return None
        return decoded


def resnet_budget5m(problem: Problem) -> ResNetSpace:
    """ResNets below 5 million parameters: the contest's space."""
    return ResNetSpace(problem)


def resnet_budget300k(problem: Problem) -> ResNetSpace:
    """ResNets below 300,000 parameters, for an evening on a CPU."""
    return ResNetSpace(problem, param_budget=300_000, max_blocks=4)


def resnet_budget30k(problem: Problem) -> ResNetSpace:
    """ResNets below 30,000 parameters, for tests and first tries."""
    return ResNetSpace(problem, param_budget=30_000, max_blocks=2)


def _suggest_recipe(trial: BaseTrial, base: Recipe) -> Recipe:
    """`base` with every searched setting replaced by the trial's."""
    return replace(
        base,
        batch_size=trial.suggest_categorical("batch_size", BATCH_SIZES),
        optimizer=_suggest_optimizer(trial, base.optimizer),
        schedule=_suggest_schedule(trial, base),
        augmentation=_suggest_augmentation(trial, base.augmentation),
        label_smoothing=trial.suggest_float("label_smoothing", 0.0, 0.2),
        ema_decay=trial.suggest_categorical("ema_decay", EMA_DECAYS),
    )


def _suggest_optimizer(trial: BaseTrial, base: Optimizer) -> Optimizer:
    name: OptimizerName = trial.suggest_categorical("optimizer", tuple(RATES))  # type: ignore[assignment]
    return replace(
        base,
        name=name,
        lr=trial.suggest_float(f"{name}_lr", *RATES[name], log=True),
        weight_decay=trial.suggest_float(f"{name}_weight_decay", *DECAYS[name], log=True),
        momentum=trial.suggest_float(f"{name}_momentum", 0.8, 0.98),
        nesterov=name == "sgd" and trial.suggest_categorical("nesterov", (True, False)),
    )


def _suggest_schedule(trial: BaseTrial, base: Recipe) -> Schedule:
    """Durations are proposed as shares of the run and kept in epochs of the base recipe."""
    name: ScheduleName = trial.suggest_categorical("schedule", SCHEDULES)  # type: ignore[assignment]
    warmup = {"cosine": (0.0, 0.3), "one_cycle": (0.05, 0.5), "step": (0.0, 0.1), "constant": (0.0, 0.1)}[name]
    schedule = replace(
        base.schedule,
        name=name,
        warmup_epochs=_clean(base.epochs * trial.suggest_float(f"{name}_warmup_share", *warmup)),
    )
    if name != "step":
        return schedule
    return replace(
        schedule,
        step_epochs=_clean(base.epochs * trial.suggest_float("step_share", 0.05, 0.5)),
        gamma=trial.suggest_float("step_gamma", 0.1, 0.8),
    )


def _suggest_augmentation(trial: BaseTrial, base: Augmentation) -> Augmentation:
    chosen: dict[str, Any] = {
        "flip": trial.suggest_categorical("flip", (True, False)),
        "crop_padding": trial.suggest_int("crop_padding", 0, 6),
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
    mixing = trial.suggest_categorical("mixing", ("none", "mixup", "cutmix", "both"))
    return {
        "mixup": trial.suggest_float("mixup_alpha", 0.1, 1.0) if mixing in ("mixup", "both") else 0.0,
        "cutmix": trial.suggest_float("cutmix_alpha", 0.1, 1.0) if mixing in ("cutmix", "both") else 0.0,
    }


def _encode_network(network: NetworkConfig) -> dict[str, Any]:
    """Parameters of a ResNet but for its share of the limits."""
    if not isinstance(network, ResNetConfig):
        raise InfeasibleError(
            "this space holds ResNets only",
            got=f"a network of kind {network.kind!r}",
            remedy="It is for reference only; train it by python -m search.retrain --recipe",
        )
    params: dict[str, Any] = {f"blocks_{i}": blocks for i, blocks in enumerate(network.blocks, 1)}
    for i in range(2, len(network.channels) + 1):
        params[f"width_ratio_{i}"] = network.channels[i - 1] / network.channels[i - 2]
    return params | {
        "stages": len(network.blocks),
        "stem_ratio": network.stem / network.channels[0],
        "stochastic_depth": network.stochastic_depth > 0,
        "stochastic_depth_rate": network.stochastic_depth,
        "block": network.block,
        "kernel": network.kernel,
        "shortcut_kernel": network.shortcut_kernel,
        "pool": network.pool if network.pool < network.map_size else 0,
        "squeeze_excitation": network.squeeze_excitation,
        "activation": network.activation,
        "dropout": network.dropout,
    }


def _encode_recipe(recipe: Recipe) -> dict[str, Any]:
    optimizer, schedule, aug = recipe.optimizer, recipe.schedule, recipe.augmentation
    if isinstance(optimizer.lr, str):
        raise InfeasibleError(
            "a warm start needs optimizer.lr as a number",
            got=repr(optimizer.lr),
            remedy="Give the rate that python -m search.lr_range suggests",
        )
    name = optimizer.name
    return {
        "batch_size": recipe.batch_size,
        "label_smoothing": recipe.label_smoothing,
        "ema_decay": recipe.ema_decay,
        "optimizer": name,
        f"{name}_lr": optimizer.lr,
        f"{name}_weight_decay": optimizer.weight_decay,
        f"{name}_momentum": optimizer.momentum,
        "nesterov": optimizer.nesterov,
        "schedule": schedule.name,
        f"{schedule.name}_warmup_share": schedule.warmup_epochs / recipe.epochs,
        "step_share": schedule.step_epochs / recipe.epochs,
        "step_gamma": schedule.gamma,
        "flip": aug.flip,
        "crop_padding": aug.crop_padding,
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
        "mixing": {(0, 0): "none", (1, 0): "mixup", (0, 1): "cutmix", (1, 1): "both"}[
            bool(aug.mixup), bool(aug.cutmix)
        ],
        "mixup_alpha": aug.mixup,
        "cutmix_alpha": aug.cutmix,
    }


def _clean(epochs: float) -> float:
    """Epochs without the last bits' noise of share x length, so that 10 / 60 x 60 is 10."""
    return round(epochs, 9)
