"""The module's panel in Slicer: one small class a section, tied together in :mod:`CAMOverlayLib.panel.panel`."""
