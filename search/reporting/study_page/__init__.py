"""The page of a study: one HTML file with its figures, written while a search runs, at its end and by the report."""
