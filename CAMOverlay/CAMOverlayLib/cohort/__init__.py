"""Many volumes: what each of them gave, and what all of them say together."""
