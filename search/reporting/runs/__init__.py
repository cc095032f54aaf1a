"""Reports of retrained runs: single ones, compared ones, finalists over seeds, reference recipes."""
