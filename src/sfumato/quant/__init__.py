"""Weights in few bits: which tensors get which type, and the file that holds them."""
