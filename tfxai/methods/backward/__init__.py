"""Methods that replace the backward pass of a model, or look at its layers."""
