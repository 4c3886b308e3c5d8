"""The embedded demo: a trained network and its feeds, and the script that made them."""
