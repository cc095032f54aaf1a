"""Tests of the package `cifar`."""
