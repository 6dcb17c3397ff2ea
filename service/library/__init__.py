"""The library of a signed-in user: images, versions, collections."""
