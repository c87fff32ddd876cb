"""Packaging a trained scene as a SavedModel: to be written."""
