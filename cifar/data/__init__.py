"""What images are trained on: found, downloaded, decoded once, cached, split."""
