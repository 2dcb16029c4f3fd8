"""nnU-Net v2 models as nnU-Net applies them, without nnU-Net: network, preprocessing, windows."""
