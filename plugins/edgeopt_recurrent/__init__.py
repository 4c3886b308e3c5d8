"""Shared code of the backends that turn loops of recurrent layers into operators; not a plugin itself."""
