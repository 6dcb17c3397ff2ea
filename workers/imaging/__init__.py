"""Pixels only: sniff, verify, decode, resize, encode, and the pool of child processes all of it runs in.

Imports nothing of ours. Functions are imported from their modules (`workers.imaging.decode.decode`): a
process that needs only the values, such as the worker itself, loads no decoder.
"""
