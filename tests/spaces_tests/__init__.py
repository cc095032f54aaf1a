"""Tests of the package `spaces`."""
