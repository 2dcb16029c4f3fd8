"""The model: read, trusted, evaluated, written."""
