"""What may not be kept: blocked hashes, and the virus scanner."""
