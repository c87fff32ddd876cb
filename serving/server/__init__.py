"""A server of TF Serving's protocol: `python -m serving.server`."""
