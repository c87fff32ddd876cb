"""Training: `python -m tfnerf.train`."""
