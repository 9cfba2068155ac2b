"""Variational autoencoders of images, their latent categorical or Gaussian."""
