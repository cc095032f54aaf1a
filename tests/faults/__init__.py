"""What must hold whatever goes wrong: `python -m tests.faults` runs it all and prints a line a fault."""
