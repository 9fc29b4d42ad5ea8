"""Rules: how single steps of a network pass gradients back; forward values never change."""
