"""What a picture shows: blocked digests, the virus scanner, classifiers, review."""
