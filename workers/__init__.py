"""Workers: jobs and scheduled tasks."""
