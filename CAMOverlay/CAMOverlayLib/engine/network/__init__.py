"""The network: forward pass, layers, feature maps, receptive fields, device."""
