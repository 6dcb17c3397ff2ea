"""For operators: users, plans, credits, jobs, refused and blocked pictures, the state of the system, the audit."""
