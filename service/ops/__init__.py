"""The op registry: op_key grammar, parameter models, price, cacheability. Pure; no I/O."""
