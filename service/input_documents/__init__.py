"""Input documents: sent once, then named by digest in op_keys."""
