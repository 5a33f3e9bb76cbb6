"""Pictures before and after they are tensors: sizes, masks and frames. Imports no torch."""
