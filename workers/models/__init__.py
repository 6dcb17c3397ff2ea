"""Models that run on our own machines: trained weights behind one small port.

The fork server opens every model once, before any picture is there; pixel children inherit the opened models by fork
and share their memory. A model has no state: what a picture does to it ends with that picture's child.
"""
