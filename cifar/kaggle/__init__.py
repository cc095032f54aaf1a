"""A Kaggle competition: its test pickle read safely, its submission CSV written and checked."""
