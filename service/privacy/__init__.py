"""Export and deletion of a user's data."""
