"""The Optuna study: storage, what it and its trials hold, and how a killed one is recovered."""
