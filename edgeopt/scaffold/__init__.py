"""Templates of a complete plugin distribution, and the module that fills them."""
