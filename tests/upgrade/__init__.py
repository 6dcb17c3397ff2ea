"""From the release before to this one."""
