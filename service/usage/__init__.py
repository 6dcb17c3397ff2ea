"""What users have used: hits, bytes, days."""
