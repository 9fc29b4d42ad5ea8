"""CASO and CAFO, from the Hessian of the loss to the sparse perturbation."""
