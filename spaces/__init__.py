"""What may be tried: a search space turns an Optuna trial into a candidate (network + recipe)."""
