"""Palier keeps a retrieval-augmented assistant cheap and right."""
