"""The names that one family's tensors have in each layout."""
