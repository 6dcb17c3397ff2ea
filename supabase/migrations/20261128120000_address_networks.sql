-- Visitors are counted by their own address and by the network that it lies in, which the first half of it stands for.
create index address_usage_by_network on public.address_usage ("left"(address, 16), day) where user_id is null;
comment on column public.address_usage.address is 'Keyed hashes, never the address: 16 digits for the /24 or /48, 16 for the address or /64.';
