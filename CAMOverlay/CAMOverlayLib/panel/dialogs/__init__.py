"""Questions that the panel asks, and what it downloads or installs."""
