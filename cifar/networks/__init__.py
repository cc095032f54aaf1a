"""Networks: described and counted before they are built, built by torch, looked up by kind."""
