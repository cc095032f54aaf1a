"""Pickles of plain data from strangers, read without running anything in them."""
