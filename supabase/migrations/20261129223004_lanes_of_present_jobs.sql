-- Jobs that stood in the queue before there were lanes get theirs.
select public.repair_lanes();
