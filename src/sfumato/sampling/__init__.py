"""Noise schedules, the denoiser, guidance and the solvers. Knows no network and no file; importing it costs nothing."""
