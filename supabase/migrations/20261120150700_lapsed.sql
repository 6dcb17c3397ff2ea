-- Credits that ended unspent before the money for them was given back: they are not taken a second time.

alter table public.credit_grants
  add column lapsed integer not null default 0,
  add constraint credit_grants_not_over_lapsed check (lapsed between 0 and clawed);
comment on column public.credit_grants.lapsed is 'How much of clawed had ended unspent, and was taken from nobody.';

alter table public.stripe_reversals add column lapsed integer not null default 0 check (lapsed >= 0);
comment on column public.stripe_reversals.lapsed is 'Credits that had ended unspent: gone with it, and not given back.';
