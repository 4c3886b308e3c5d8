"""What the backends share that turn the loops of recurrent layers into operators; no plugin by itself."""
