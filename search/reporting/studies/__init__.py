"""Reports of a study: figures, the words about them, the card and the files."""
