-- Credits in grants: what was given, until when it holds, what is left of it, and which grants each movement used.

alter table public.credits add column debt integer not null default 0 check (debt >= 0);
comment on column public.credits.debt is
  'Credits that were taken back when they had been spent: what comes in pays this first, so it is 0 unless balance is.';
comment on column public.credits.balance is
  'Always the sum of the user''s credit_ledger and what is left of their credit_grants; never negative.';

alter table public.credit_ledger
  add column debt integer not null default 0,
  add column balance_after integer,
  drop constraint credit_ledger_reason_check,
  add constraint credit_ledger_reason_check check (reason in (
    'signup_grant', 'subscription', 'purchase', 'admin_grant', 'refund', 'hold', 'capture', 'release', 'expiry',
    'clawback', 'debt', 'closing', 'opening'));
comment on column public.credit_ledger.debt is 'By how much this changed credits.debt.';
comment on column public.credit_ledger.balance_after is 'The balance when this had happened.';
update public.credit_ledger l set balance_after = s.balance
from (select id, sum(delta) over (partition by user_id order by id) as balance from public.credit_ledger) s
where s.id = l.id;
alter table public.credit_ledger alter column balance_after set not null;
create index credit_ledger_history on public.credit_ledger (user_id, id desc);
-- What is told of more than once, and must be known when its account was emptied or deleted meanwhile.
drop index public.credit_ledger_purchases;
create index credit_ledger_external on public.credit_ledger (reference)
  where reason in ('purchase', 'subscription', 'clawback');

create table public.credit_grants (
  id bigint generated always as identity primary key,
  user_id uuid not null,
  source text not null check (source in (
    'signup_grant', 'subscription', 'purchase', 'admin_grant', 'refund', 'opening')),
  reference text not null,
  amount integer not null check (amount > 0),
  remaining integer not null,
  clawed integer not null default 0,
  expires_at timestamptz,
  note text,
  created_at timestamptz not null default now(),
  unique (user_id, source, reference),
  constraint credit_grants_not_over_consumed check (remaining between 0 and amount),
  constraint credit_grants_not_over_clawed check (clawed between 0 and amount)
);
comment on table public.credit_grants is 'What an account was given. Spent soonest expiring first, then oldest.';
comment on column public.credit_grants.user_id is 'An account, or the pseudonym of one that was deleted or emptied.';
comment on column public.credit_grants.source is 'Why it was given; opening: what there was before grants were kept.';
comment on column public.credit_grants.clawed is 'How much of it was taken back, out of what was left or as a debt.';
comment on column public.credit_grants.expires_at is 'null: never.';
create index credit_grants_open on public.credit_grants (user_id, expires_at, id) where remaining > 0;
create index credit_grants_expiry on public.credit_grants (expires_at) where remaining > 0 and expires_at is not null;

create table public.credit_uses (
  ledger_id bigint not null references public.credit_ledger (id),
  grant_id bigint not null references public.credit_grants (id),
  user_id uuid not null,
  delta integer not null check (delta <> 0),
  primary key (ledger_id, grant_id)
);
comment on table public.credit_uses is
  'Which grants a movement of the ledger put credits into (+) or took them out of (-): sums to both, per row and grant.';
create index credit_uses_by_grant on public.credit_uses (grant_id);
create index credit_uses_by_user on public.credit_uses (user_id);

alter table public.credit_grants enable row level security;
alter table public.credit_uses enable row level security;
revoke all on table public.credit_grants, public.credit_uses from public, anon, authenticated, service_role;
grant select on table public.credit_grants, public.credit_uses to service_role;
revoke all on all sequences in schema public from public, anon, authenticated;

-- Whoever has a ledger has one grant from here on, which all movements until now were of: an open hold knows where to
-- return to.
insert into public.credit_grants (user_id, source, reference, amount, remaining)
select l.user_id, 'opening', 'opening', sum(l.delta) filter (where l.delta > 0 and l.reason <> 'release'), sum(l.delta)
from public.credit_ledger l group by l.user_id
having sum(l.delta) filter (where l.delta > 0 and l.reason <> 'release') > 0;
insert into public.credit_uses (ledger_id, grant_id, user_id, delta)
select l.id, g.id, l.user_id, l.delta
from public.credit_ledger l join public.credit_grants g on g.user_id = l.user_id
where l.delta <> 0;

drop function public.move_credits(uuid, integer, text, text);
drop function public.grant_credits(uuid, integer, text, text);
