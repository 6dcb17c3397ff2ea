"""Darkroom's HTTP face, and the domain that its workers share."""

__version__ = "0.1.0"
