"""Pairs of a source and a target: read, cleaned, and split."""
