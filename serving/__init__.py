"""Serving an exported scene over gRPC, and asking for its pictures.

Speaks the protocol of TF Serving only; knows nothing of networks and training.
"""
