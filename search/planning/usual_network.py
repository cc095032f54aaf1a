"""The network that plans and forecasts assume: a ResNet of the usual shape, as large as the limits of a study allow."""

from __future__ import annotations

from cifar.networks.resnet import REFERENCE_RESNET


def area(image_size: int) -> float:
    """Pixels of an image relative to one of CIFAR-10; multiply-accumulates grow in proportion."""
    return (image_size / 32) ** 2


def macs_at(param_budget: int | None, image_size: int) -> float:
    """Multiply-accumulates an image at a parameter limit; None is the usual network as it is."""
    usual = REFERENCE_RESNET.cost()
    return area(image_size) * usual.macs * (param_budget or usual.parameters) / usual.parameters


def parameters_at(mac_budget: int, image_size: int) -> int:
    """Parameters at a limit of multiply-accumulates an image."""
    usual = REFERENCE_RESNET.cost()
    return round(usual.parameters * mac_budget / (usual.macs * area(image_size)))
