"""What every other room stands on: types, checks, batches, axes, names. It knows no model."""
