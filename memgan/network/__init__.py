"""Pure torch networks of MemGAN."""
