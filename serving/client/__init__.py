"""Asking served scenes: `python -m serving.client`."""
