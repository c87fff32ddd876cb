"""Pictures along camera paths: `python -m tfnerf.render`."""
