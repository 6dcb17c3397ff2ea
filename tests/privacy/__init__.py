"""Deleting and exporting all data of a user."""
