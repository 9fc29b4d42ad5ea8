"""CAFO and CASO: the small, sparse change of the input that raises the loss most."""
