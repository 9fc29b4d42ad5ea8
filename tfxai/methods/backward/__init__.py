"""Methods that replace the backward pass of a model, or explain by its layers."""
