"""What a person sees while a search runs: its trials on a board, drawn in a terminal."""
