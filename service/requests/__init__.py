"""What users may ask for about all of their data: a copy of it, or its deletion."""
