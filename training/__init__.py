"""Makes a model: datasets, losses, loops."""
