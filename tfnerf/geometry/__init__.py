"""Cameras, poses, paths: where things are and how they are seen."""
