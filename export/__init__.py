"""Packaging a trained scene as a SavedModel that TF Serving, or `serving.server`, answers from."""
