"""The catalogue of ops over HTTP."""
