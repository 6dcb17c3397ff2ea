"""Intake: a claim about a picture becomes a hit or a job."""
