"""Looking at a scene before training: `python -m tfnerf.inspect`."""
