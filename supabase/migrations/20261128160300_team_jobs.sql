-- It has a parameter more from here on: see 93_teams.sql.
drop function public.cancel_team_jobs(uuid[]);
