"""Averages over noise, on the inputs or on the weights."""
