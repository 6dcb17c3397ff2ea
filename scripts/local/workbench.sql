-- Plans on a developer's machine: whoever has not signed in may try everything, as often as they like, as much at once as
-- they like and without a watermark. Applied once; every other plan is as it is deployed.
update public.plans
set watermark = false, generations_per_day = null, high_res_exports_per_month = null, max_pixels = null,
    failures_per_day = null, max_running = 1000, max_pending = 100000
where id = 'anonymous';
