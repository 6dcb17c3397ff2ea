-- A new account gets its profile, its credit account and the signup credits of its plan, in the sign-up's transaction.
create or replace function public.handle_new_user() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_credits integer;
begin
  insert into public.profiles (user_id) values (new.id) on conflict (user_id) do nothing;
  insert into public.credits (user_id) values (new.id) on conflict (user_id) do nothing;
  select p.signup_credits into v_credits
  from public.profiles f join public.plans p on p.id = f.plan_id where f.user_id = new.id;
  if v_credits > 0 then
    perform public.grant_credits(new.id, v_credits, 'signup_grant', 'signup');
  end if;
  return null;
end $$;

create or replace trigger darkroom_new_user after insert on auth.users
  for each row execute function public.handle_new_user();
