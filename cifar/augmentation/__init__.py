"""Training-time augmentation of whole batches of uint8 images."""
