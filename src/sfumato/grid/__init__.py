"""Many requests from one: X/Y/Z plots and prompt matrices, and the labelled sheet of their pictures."""
