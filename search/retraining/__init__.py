"""Candidates trained in full: runs, their records, seeds, finalists, comparisons."""
