"""Devices, precision, memory, attention and random numbers: pure decisions and thin executors."""
