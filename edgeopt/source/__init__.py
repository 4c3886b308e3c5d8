"""The source model: which one it is, how it is opened, and its normalised form that every backend starts from."""
