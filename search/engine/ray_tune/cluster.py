"""The Ray cluster: connected to, or started on this machine, and how many trials it has room for."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Iterable, Mapping

import torch

from cifar.errors import UserError
from cifar.runtime.device import choose_device
from search.engine.ray_tune.process_groups import in_groups_of_their_own
from search.planning.speed import Speed, measure_speed
from search.settings import SearchSettings

OLDEST = (2, 60)  # the Ray whose Tune controller the engine was written and tested against
INSTALL = "pip install 'ray[tune]>=2.60'"
ANSWER_SECONDS = 10.0  # that the head of a cluster gets to answer
ROUNDING = 1e-9  # of quotients such as 1 / 0.1, which are meant as whole numbers


class ClusterError(UserError):
    """Ray is missing or too old, or the cluster cannot be reached or has no room for a trial."""


def connect(settings: SearchSettings) -> None:
    """Connects this process to the cluster, or starts one of this machine alone; nothing if it is connected.

    Raises:
        ClusterError: no Ray, another Ray than the cluster's, or no cluster there.
    """
    _require_ray()
    import ray

    if ray.is_initialized():
        return
    address = settings.address or "local"
    own = address == "local"
    if own:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray's reports to its makers are the user's choice
    try:
        if address not in ("local", "auto"):
            _knock(address)
        dashboard = False if own else None
        with in_groups_of_their_own():
            ray.init(address, include_dashboard=dashboard, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        got = f"{address} ({' '.join(str(error).split())})"
        raise ClusterError(
            "--address must be that of a cluster with the same Ray and Python",
            got=got,
            remedy=f"Start one by ray start --head, set RAY_AUTH_MODE as it has it, or install its versions: {INSTALL}",
        ) from None


def _knock(address: str) -> None:
    """Raises an OSError where nothing listens, which Ray itself would find out in two minutes."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()


def _require_ray() -> None:
    try:
        import ray.tune
    except ImportError as error:
        raise _unfit(str(error)) from None
    if tuple(int(part) for part in ray.__version__.split(".")[:2]) < OLDEST:
        raise _unfit(ray.__version__)


def _unfit(got: str) -> ClusterError:
    oldest = ".".join(map(str, OLDEST))
    return ClusterError(f"--engine ray needs Ray Tune {oldest} or newer", got=got, remedy=f"Install it: {INSTALL}")


def gpus_of_each(settings: SearchSettings) -> float:
    """GPUs of a trial: as given, or one where the cluster has any and the device may be a GPU."""
    if settings.gpus_per_trial is not None:
        return settings.gpus_per_trial
    import ray

    return 1.0 if settings.device in ("auto", "cuda") and ray.cluster_resources().get("GPU") else 0.0


def room(settings: SearchSettings) -> int:
    """Trials that train side by side on the nodes there are now, at most `--max-concurrent`."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fitting = trials_on(nodes, settings.cpus_per_trial, gpus_of_each(settings))
    return min(fitting, settings.max_concurrent or fitting)


def trials_at_once(settings: SearchSettings) -> int:
    """`room` of the cluster that this connects to.

    Raises:
        ClusterError: the cluster cannot be reached, or no node of it has room for a trial.
    """
    connect(settings)
    found = room(settings)
    if found == 0:
        import ray

        has = ", ".join(f"{ray.cluster_resources().get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))
        wanted = f"{settings.cpus_per_trial:g} CPUs and {gpus_of_each(settings):g} GPUs"
        raise ClusterError(
            f"a node must have room for a trial of {wanted}",
            got=f"{has} in all",
            remedy="Lower --cpus-per-trial or --gpus-per-trial, or add nodes by ray start --address",
        )
    return found


def measured_speed(settings: SearchSettings) -> Speed:
    """How fast a trial trains on a node that has room for one: the driver's own machine may have no GPU.

    Raises:
        UserError: no such cluster, or a device that the node lacks.
    """
    connect(settings)
    import ray

    task = ray.remote(_speed_here)
    given = {"num_cpus": settings.cpus_per_trial, "num_gpus": gpus_of_each(settings)}
    try:
        speed: Speed = ray.get(task.options(**given).remote(device_of_each(settings), threads_of_trial(settings)))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    return speed


def _speed_here(device: str, threads: int) -> Speed:
    torch.set_num_threads(threads)
    return measure_speed(choose_device(device))


def device_of_each(settings: SearchSettings) -> str:
    """The device of a trial, as `--device` names it: a GPU of its node only if it is given one."""
    return "cpu" if settings.device == "auto" and not gpus_of_each(settings) else settings.device


def threads_of_trial(settings: SearchSettings) -> int:
    """CPU threads of a trial."""
    return max(1, int(settings.cpus_per_trial))


def trials_on(nodes: Iterable[Mapping[str, float]], cpus: float, gpus: float) -> int:
    """Trials of so many CPUs and GPUs each that fit on nodes; shares of a GPU never reach over two of them.

    Args:
        nodes: what each has, by Ray's names `CPU` and `GPU`.
        cpus: of a trial, above 0.
        gpus: of a trial; a share of one, or a whole number.
    """
    return sum(_trials_on_one(node.get("CPU", 0), node.get("GPU", 0), cpus, gpus) for node in nodes)


def _trials_on_one(has_cpus: float, has_gpus: float, cpus: float, gpus: float) -> int:
    by_cpus = _whole(has_cpus / cpus)
    if gpus == 0:
        return by_cpus
    return min(by_cpus, int(has_gpus) * _whole(1 / gpus) if gpus < 1 else _whole(has_gpus / gpus))


def _whole(quotient: float) -> int:
    return math.floor(quotient + ROUNDING)
