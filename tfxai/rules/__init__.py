"""Rules: how single steps of a network pass cotangents back; forward values never change."""
