"""Datasets, and batches of examples."""
