"""Answering requests for rays over gRPC: to be written."""
