"""Share links: one picture, for whoever has the link, for a while."""
