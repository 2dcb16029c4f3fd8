"""The process on another machine: ``place`` names it and starts ``ssh``, ``boot`` runs first over there, ``parcel`` and
``shipment`` send what a run needs and take what comes back, ``shelf`` is where the far side keeps it meanwhile."""
