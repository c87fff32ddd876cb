"""Measuring trained runs: `python -m tfnerf.evaluate`."""
