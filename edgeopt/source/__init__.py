"""The source model: the choice of one, loading, and the normalised form that every backend starts from."""
