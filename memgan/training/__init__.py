"""What made the weights: data, degradation, losses, discriminator, steps and the loop around them."""
