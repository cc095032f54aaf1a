"""ResNets under a parameter limit, together with optimizer, schedule, regularisation and augmentation.

Two designs: `blocks`, ResNets of any depth and block (`cifar.networks.resnet`), and `fast`, the small residual networks
of short runs (`cifar.networks.fast_resnet`). The limit is kept by construction: depths, block type and width ratios are
proposed, and the width is solved so that the network fills the proposed share of the limit (`spaces.width`). The same
space under other limits: `--param-budget 300k`, `--mac-budget 25M`, or the siblings below.

The training settings are in `spaces.training`, the prior is in `spaces.resnet_prior`. What is not searched comes from a
base recipe: that of the design, or the recipe that a warm start names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal

from optuna.trial import BaseTrial, FixedTrial, create_trial

from cifar.candidate import Candidate
from cifar.errors import InfeasibleError, UserError
from cifar.networks import fast_resnet
from cifar.networks.fast_resnet import FastResNetConfig
from cifar.networks.registry import NetworkConfig
from cifar.networks.resnet import ResNetConfig
from cifar.networks.resnet_block import ActivationName, BlockName
from cifar.recipe import recipe_names
from spaces.base import Prior, Problem, SearchSpace, WarmStart
from spaces.resnet_prior import OTHER_POINTS, spreads
from spaces.training import ADDED, encode_recipe, suggest_recipe
from spaces.width import MIN_WIDTH, Limits, round_width, widest

Design = Literal["blocks", "fast"]

BASE_RECIPE = "cpu_fast"
"""The recipe that a search starts from, with the network's own size: in short runs a small one wins."""
BASES: dict[Design, str] = {"blocks": "resnet_fast", "fast": BASE_RECIPE}
"""The recipe of each design that has what is not searched."""
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
FAST_RATIOS = ((1.0, 6.0), (0.5, 3.0))  # widths of the second and third stage to that of the one before; usual: 4, 1
FAST_USED_SHARE = (0.01, 1.0)  # share of the limits used, logarithmic: these networks are for short runs, and small
FAST_CONVOLUTIONS = (2, 3)
FAST_SMALLEST = 2 ** (fast_resnet.STAGES + 1)  # pixels of the images; also when the first ones are smaller
WIDTH_MULTIPLE = 8  # hardware multiplies such widths faster; only a warm start keeps its own to the channel


class ResNetSpace(SearchSpace):
    """ResNets that keep hard limits.

    Images below 16 pixels have the design `blocks` alone.

    Args:
        problem: classes and image size of the data; limits, the parameter limit 5,000,000 unless given.
        max_blocks: most blocks a stage; lowered for limits that leave so deep networks no width.

    Raises:
        InfeasibleError: no network of every shape fits, however narrow.
    """

    added: Mapping[str, Any] = MappingProxyType({"design": "blocks", **ADDED})

    def __init__(self, problem: Problem, *, param_budget: int = 5_000_000, max_blocks: int = MAX_BLOCKS) -> None:
        self.problem = problem
        self.limits = Limits(problem.param_budget or param_budget, problem.mac_budget)
        self.param_budget, self.mac_budget = self.limits.parameters, self.limits.macs
        self.max_blocks = self._deepest(max_blocks)
        fits = problem.image_size >= FAST_SMALLEST
        self.designs: tuple[Design, ...] = ("blocks", "fast") if fits else ("blocks",)

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
        design: Design = trial.suggest_categorical("design", self.designs)  # type: ignore[assignment]
        name = trial.user_attrs.get(RECIPE_ATTRIBUTE, BASES[design])
        multiple = 1 if RECIPE_ATTRIBUTE in trial.user_attrs else WIDTH_MULTIPLE
        return self._candidate(trial, design, Candidate.named(name), multiple)

    def _candidate(self, trial: BaseTrial, design: Design, base: Candidate, multiple: int) -> Candidate:
        network = self._fast(trial, base, multiple) if design == "fast" else self._blocks(trial, multiple)
        any_size = isinstance(network, FastResNetConfig) or network.pool == 0  # also the first, small ones
        return Candidate(network, suggest_recipe(trial, base.recipe, any_size=any_size))

    def _fast(self, trial: BaseTrial, base: Candidate, multiple: int) -> FastResNetConfig:
        """A residual network of the design `fast`; what is not searched is that of the base recipe's."""
        known = base.network if isinstance(base.network, FastResNetConfig) else FastResNetConfig()
        second, third = (trial.suggest_float(f"fast_width_ratio_{i}", *FAST_RATIOS[i - 2]) for i in (2, 3))
        shape = replace(
            known,
            residual=True,
            convolutions=trial.suggest_categorical("fast_convolutions", FAST_CONVOLUTIONS),
            activation=trial.suggest_categorical("fast_activation", ACTIVATIONS),  # type: ignore[arg-type]
            num_classes=self.problem.num_classes,
            image_size=self.problem.image_size,
        )

        def at(scale: float) -> FastResNetConfig:
            one, two, three = (round_width(scale * ratio, multiple) for ratio in (1.0, second, second * third))
            return replace(shape, widths=(one, two, three))

        return widest(at, self.limits, trial.suggest_float("fast_used_share", *FAST_USED_SHARE, log=True))

    def _blocks(self, trial: BaseTrial, multiple: int) -> ResNetConfig:
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
        """Our own starting points, one a design, then every other built-in recipe that lies inside the space."""
        starts = [self._fast_start()] if "fast" in self.designs else []
        starts.append(self._scaled("blocks"))
        for name in recipe_names():
            start = None if name in BASES.values() else self._start(name)
            starts += [start] if start else []
        return starts

    def prior(self, passes: float) -> Prior:
        """The first warm start; parameters of the other design lie around that design's.

        What suits another length is a matter of this function: of `passes`, only the spreads depend so far.
        """
        start = self._fast_start() if "fast" in self.designs else self._scaled("blocks")
        point = {**OTHER_POINTS, **self._scaled("blocks").params, **start.params}
        return Prior(point, spreads(passes))

    def _fast_start(self) -> WarmStart:
        """The base recipe as it is or, where a limit is too small for its network, scaled to the limits."""
        return self._start(BASE_RECIPE) or self._scaled("fast")

    def _start(self, name: str) -> WarmStart | None:
        """A built-in recipe as a warm start; None where it lies outside the space."""
        try:
            candidate = Candidate.named(name).for_data(self.problem.num_classes, self.problem.image_size)
            return WarmStart(name, self.encode(candidate), {RECIPE_ATTRIBUTE: name})
        except UserError:  # also where its network is not for such images
            return None

    def _scaled(self, design: Design) -> WarmStart:
        """The design's base recipe with a network as large as the limits allow."""
        base = Candidate.named(BASES[design])
        params = _encode_network(base.network) | encode_recipe(base.recipe)
        params |= {"unused_share": UNUSED_SHARE[0]} if design == "blocks" else {"fast_used_share": 1.0}
        params |= {name: min(params[name], self.max_blocks) for name in params if name.startswith("blocks_")}
        return WarmStart(f"{BASES[design]} (scaled to the limits)", params)

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
        params = _encode_network(candidate.network) | encode_recipe(candidate.recipe)
        share = self.limits.share_of(candidate.cost)
        params |= {"unused_share": 1 - share} if params["design"] == "blocks" else {"fast_used_share": share}
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
            design: Design = trial.suggest_categorical("design", self.designs)  # type: ignore[assignment]
            decoded = self._candidate(trial, design, candidate, 1)
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


def _encode_network(network: NetworkConfig) -> dict[str, Any]:
    """Parameters of a ResNet but for its share of the limits."""
    if isinstance(network, FastResNetConfig):
        return _encode_fast(network)
    if isinstance(network, ResNetConfig):
        return _encode_blocks(network)
    raise InfeasibleError(
        "this space holds ResNets only",
        got=f"a network of kind {network.kind!r}",
        remedy="It is for reference only; train it by python -m search.retrain --recipe",
    )


def _encode_fast(network: FastResNetConfig) -> dict[str, Any]:
    first, second, third = network.widths
    return {
        "design": "fast",
        "fast_width_ratio_2": second / first,
        "fast_width_ratio_3": third / second,
        "fast_convolutions": network.convolutions,
        "fast_activation": network.activation,
    }


def _encode_blocks(network: ResNetConfig) -> dict[str, Any]:
    params: dict[str, Any] = {f"blocks_{i}": blocks for i, blocks in enumerate(network.blocks, 1)}
    for i in range(2, len(network.channels) + 1):
        params[f"width_ratio_{i}"] = network.channels[i - 1] / network.channels[i - 2]
    return params | {
        "design": "blocks",
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
