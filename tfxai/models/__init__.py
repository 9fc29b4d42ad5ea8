"""What is known of a Keras model: its graph, its head and its channels."""
