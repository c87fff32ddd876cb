"""A web page to orbit a served scene with the mouse: `python -m serving.viewer`."""
