"""The one place that wires prompt, families and sampling together: load, encode, denoise, decode."""
