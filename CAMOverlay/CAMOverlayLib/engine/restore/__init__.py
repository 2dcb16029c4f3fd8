"""The way back: from the network's input to the volume's own grid."""
