"""The `darkroom` command: it starts API, workers and single tasks, and is the only part above service and workers."""
