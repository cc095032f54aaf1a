"""Experiment trackers: optional callbacks of `run_search` that record each trial as a run of its own."""
