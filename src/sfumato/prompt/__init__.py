"""The prompt language: weights, schedules, alternatives, AND, BREAK. Imports no torch."""
