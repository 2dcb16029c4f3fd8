"""The computation in a process of its own: ``client`` is Slicer's side, ``server`` the other, ``protocol`` between."""
