"""Pictures of the overlay."""
