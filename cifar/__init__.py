"""Trains and evaluates one network on CIFAR-10-sized images; knows nothing of studies."""
