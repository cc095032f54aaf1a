"""A trial's life: which trial is trained next, by whom, and what becomes of it."""
