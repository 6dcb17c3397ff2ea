"""Every column of every table, and who reads it: users (authenticated, under the policies of the table; `plans` also
anon), and what the service role alone reads. A column that is not listed here fails the tests."""

from __future__ import annotations

USERS: dict[str, str] = {
    "plans": (
        "id name rank description features price_cents currency signup_credits monthly_credits "
        "generations_per_day generations_per_month high_res_exports_per_month failures_per_day bulk "
        "campaigns storage_bytes max_pixels max_running max_pending priority weight watermark working_side "
        "api_access keep_days versions persistent promote_price seats public"
    ),
    "profiles": (
        "user_id plan_id keep_original keep_full_res versions_to_keep archive_after_days over_quota_since "
        "created_at updated_at"
    ),
    "credits": "user_id balance debt updated_at",
    "credit_ledger": "id user_id delta debt reason reference balance_after created_at",
    "credit_grants": "id user_id source reference amount remaining clawed lapsed expires_at note created_at",
    "credit_uses": "ledger_id grant_id user_id delta",
    "images": (
        "id user_id team_id owner_id sha256 filename content_type width height size prompt search "
        "current_output_id original_path original_size archived_at listed_since created_at"
    ),
    "image_outputs": (
        "id image_id job_id user_id team_id owner_id version input_sha256 input_content_type input_width "
        "input_height input_size op_key ops variant bucket path thumb_path content_type width height size "
        "sha256 scan moderation report features expires_at deleted_at created_at"
    ),
    "collections": "id user_id team_id owner_id name parent_id created_at updated_at",
    "collection_items": "collection_id image_id user_id team_id owner_id created_at",
    "jobs": (
        "id user_id team_id owner_id api_key_id status sha256 filename content_type size width height "
        "op_key variant price charged wants_persist keep_days progress step attempt max_attempts error "
        "image_id output_id upload_path upload_expires_at batch_id created_at started_at finished_at expires_at"
    ),
    "job_events": "id job_id user_id type attempt created_at",
    "share_links": (
        "id output_id user_id team_id has_password expires_at max_views views last_viewed_at revoked_at "
        "created_at"
    ),
    "teams": "id name versions_to_keep created_at updated_at",
    "team_members": "team_id user_id role created_at",
    "usage_daily": (
        "user_id day jobs generations high_res_exports failures cache_hits credits saved_credits "
        "vendor_cost_micros saved_vendor_cost_micros bytes_stored bytes_served"
    ),
    "storage_usage": "owner_id bytes updated_at",
    "subscriptions": (
        "id user_id plan_id status current_period_start current_period_end cancel_at_period_end "
        "grace_until ended_at updated_at"
    ),
    "api_keys": (
        "id user_id name prefix scopes rate_per_minute spend_cap created_at expires_at rotated_at "
        "last_used_at revoked_at"
    ),
}

SERVICE: dict[str, str] = {
    "abuse_signals": "accounts burst jobs refusal_ratio refused signals user_id",
    "address_usage": "address day failures generations user_id",
    "admins": "created_at granted_by role user_id",
    "api_key_secrets": "created_at hash key_id prefix valid_until",
    "api_key_spending": "credits key_id month",
    "audit_log": "action actor created_at data id subject",
    "blocked_hashes": "category created_at created_by reason sha256",
    "collections": "parent_top top",
    "credit_packs": "active created_at credits currency id name position price_cents",
    "data_requests": (
        "attempt bucket created_at cursor error expires_at finished_at id kind lease_expires_at "
        "lease_token max_attempts options path progress queue receipt run_at size started_at status step "
        "user_id worker"
    ),
    "image_outputs": (
        "cache_key moderation_policy moderation_score moderation_tried_at scan_tried_at vendor_cost_micros"
    ),
    "idempotency_keys": (
        "answer answered_at created_at effects expires_at id key_digest leased_until reads request_digest user_id"
    ),
    "input_documents": "body created_at digest id kind used_at user_id",
    "images": (
        "moderation_tried_at original_attempts original_due_at original_moderation original_moderation_policy "
        "original_moderation_score original_scan original_sha256 scan_tried_at"
    ),
    "jobs": (
        "address cache_key counted_on for_hits held high_res lane_id lease_expires_at lease_token look_at "
        "object_key priority queue replay_of request_id run_at source_bucket vendor_cost_micros worker"
    ),
    "byte_checks": "after_id kind rounds",
    "write_probe": "id written_at",
    "moderation_reviews": "created_at decision job_id reason",
    "lanes": (
        "due_at id network paused_at plan_id queue running state team_id turn used_at user_id vtime waiting weight who"
    ),
    "op_costs": "cost op",
    "op_prices": "hit_price op price updated_at",
    "queue_counts": "backend finished finished_before minute plan_id queue running vtime waiting weight",
    "queues": "paused_at queue",
    "plans": "created_at stripe_price_id stripe_product_id updated_at",
    "profiles": (
        "banned_until closed_at flag_reason flagged_at signup_credited_at suspend_reason suspended_at "
        "versions_due"
    ),
    "share_secrets": "password_hash share_id token_hash",
    "storage_changes": "bytes id owner_id",
    "stripe_closures": "attempts created_at customer_id error run_at",
    "stripe_customers": "created_at customer_id gone_at user_id",
    "stripe_events": (
        "attempts error handled_at id lease object_id object_type occurred_at outcome received_at run_at "
        "status type"
    ),
    "stripe_prices": "active amount created_at currency pack_id plan_id price_id",
    "stripe_reversals": "amount created_at credits id kind lapsed reference returned_at source user_id",
    "subscriptions": "created_at customer_id entitled price_id ticket",
    "team_invitations": "accepted_at created_at declined_at email expires_at id revoked_at role team_id",
    "teams": "versions_due",
    "task_leases": "expires_at task token",
    "tombstones": "attempts bucket created_at id not_before path purged_at reason request_id",
    "usage_folds": "created_at id",
    "usage_daily": "designs",
}
"""Beside the columns of USERS."""

NOBODY: dict[str, str] = {
    "deleted_accounts": "id at",
    "deleted_usage": "day digest failures generations high_res_exports",
    "signup_addresses": "created_at digest",
    "signup_secret": "id secret",
}
"""Read by functions alone."""
