"""How a search spends its time: rungs, speed, forecast, plan, workers."""
