"""The machine that trains: device, threads, memory, seeds, cache folder."""
