"""Jobs: documents, event streams, progress."""
