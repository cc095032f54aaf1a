"""Studies: an Optuna search over candidates, retraining, reports and submissions; one module a command."""
