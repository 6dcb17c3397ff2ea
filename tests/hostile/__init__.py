"""Files that a service open to the world receives: broken, cut off, disguised, lying and exploding.

`corpus.build(directory)` writes them, the same bytes every time, and tells for each what its sender would
claim and how Darkroom has to answer.
"""
