-- Plans, quotas, usage: what a plan allows, what has been used of it, and what each day brought.

-- intake() has more to know: whose work it is (a team's, a key's), what a hit costs, what was quoted, from where.
drop function public.intake(uuid, text, text, text, bigint, integer, integer, text, text, boolean, integer,
  text, boolean, boolean, integer, integer, integer, text, integer, boolean);
