"""Fine-tuning on the user's pictures: what to learn from, what is trained, the loop, and what is kept of it."""
