"""Models of token ids, explained at the output of their embedding."""
