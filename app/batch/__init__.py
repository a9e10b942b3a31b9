"""Pieces from a list: what each line asks for, and their making in batches, here or on a cluster."""
