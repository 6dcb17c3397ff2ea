"""Events that others send us: verified, kept, and dealt with afterwards."""
