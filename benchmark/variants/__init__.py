"""What is compared: normalizations, activations and the network around them."""
