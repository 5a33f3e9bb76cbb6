"""What a family of models is: its networks, its text conditioning, its prediction and its latents."""
