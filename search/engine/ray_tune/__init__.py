"""The engine on Ray Tune: one Tune trial is one trial job, on one machine or many."""
