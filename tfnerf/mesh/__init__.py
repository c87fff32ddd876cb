"""Coloured meshes: `python -m tfnerf.mesh`."""
