"""An autoencoder that chooses the few pixels it sees."""
