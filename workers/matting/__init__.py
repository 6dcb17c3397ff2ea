"""Image matting: how much of every pixel along an outline belongs to the subject, and which colour the subject has
there."""
