"""What a new plugin starts from: the templates of a whole distribution, and the module that fills them."""
