"""What every context stands on: settings, clients of the world outside, errors. Knows no context."""
