"""Work that waits its turn: a durable queue, workers that draw, and events that tell of it. Imports no torch."""
