
export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[]

export type Database = {
  
  "public": {
          Tables: {
            "audit_log": {
                  Row: {
                    "action": string,"actor": string | null,"created_at": string,"data": NonNullable<Json>,"id": number,"subject": string
                  }
                  ComputedFields: never
                  Insert: {
                    "action": string,"actor"?: string | null,"created_at"?: string,"data"?: NonNullable<Json>,"id"?: never,"subject": string
                  }
                  Update: {
                    "action"?: string,"actor"?: string | null,"created_at"?: string,"data"?: NonNullable<Json>,"id"?: never,"subject"?: string
                  }
                  Relationships: [
                    
                  ]
                },"blocked_hashes": {
                  Row: {
                    "category": string,"created_at": string,"created_by": string,"reason": string,"sha256": string
                  }
                  ComputedFields: never
                  Insert: {
                    "category": string,"created_at"?: string,"created_by": string,"reason"?: string,"sha256": string
                  }
                  Update: {
                    "category"?: string,"created_at"?: string,"created_by"?: string,"reason"?: string,"sha256"?: string
                  }
                  Relationships: [
                    
                  ]
                },"collection_items": {
                  Row: {
                    "collection_id": string,"created_at": string,"image_id": string,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "collection_id": string,"created_at"?: string,"image_id": string,"user_id": string
                  }
                  Update: {
                    "collection_id"?: string,"created_at"?: string,"image_id"?: string,"user_id"?: string
                  }
                  Relationships: [
                    {
      foreignKeyName: "collection_items_collection"
      columns: ["collection_id","user_id"]
isOneToOne: false
      referencedRelation: "collections"
      referencedColumns: ["id","user_id"]
    },{
      foreignKeyName: "collection_items_image"
      columns: ["image_id","user_id"]
isOneToOne: false
      referencedRelation: "images"
      referencedColumns: ["id","user_id"]
    }
                  ]
                },"collections": {
                  Row: {
                    "created_at": string,"id": string,"name": string,"parent_id": string | null,"parent_top": boolean | null,"top": boolean,"updated_at": string,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"id"?: string,"name": string,"parent_id"?: string | null,"parent_top"?: never,"top"?: never,"updated_at"?: string,"user_id": string
                  }
                  Update: {
                    "created_at"?: string,"id"?: string,"name"?: string,"parent_id"?: string | null,"parent_top"?: never,"top"?: never,"updated_at"?: string,"user_id"?: string
                  }
                  Relationships: [
                    {
      foreignKeyName: "collections_parent"
      columns: ["parent_id","user_id","parent_top"]
isOneToOne: false
      referencedRelation: "collections"
      referencedColumns: ["id","user_id","top"]
    }
                  ]
                },"credit_grants": {
                  Row: {
                    "amount": number,"clawed": number,"created_at": string,"expires_at": string | null,"id": number,"note": string | null,"reference": string,"remaining": number,"source": string,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "amount": number,"clawed"?: number,"created_at"?: string,"expires_at"?: string | null,"id"?: never,"note"?: string | null,"reference": string,"remaining": number,"source": string,"user_id": string
                  }
                  Update: {
                    "amount"?: number,"clawed"?: number,"created_at"?: string,"expires_at"?: string | null,"id"?: never,"note"?: string | null,"reference"?: string,"remaining"?: number,"source"?: string,"user_id"?: string
                  }
                  Relationships: [
                    
                  ]
                },"credit_ledger": {
                  Row: {
                    "balance_after": number,"created_at": string,"debt": number,"delta": number,"id": number,"reason": string,"reference": string,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "balance_after": number,"created_at"?: string,"debt"?: number,"delta": number,"id"?: never,"reason": string,"reference": string,"user_id": string
                  }
                  Update: {
                    "balance_after"?: number,"created_at"?: string,"debt"?: number,"delta"?: number,"id"?: never,"reason"?: string,"reference"?: string,"user_id"?: string
                  }
                  Relationships: [
                    
                  ]
                },"credit_uses": {
                  Row: {
                    "delta": number,"grant_id": number,"ledger_id": number,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "delta": number,"grant_id": number,"ledger_id": number,"user_id": string
                  }
                  Update: {
                    "delta"?: number,"grant_id"?: number,"ledger_id"?: number,"user_id"?: string
                  }
                  Relationships: [
                    {
      foreignKeyName: "credit_uses_grant_id_fkey"
      columns: ["grant_id"]
isOneToOne: false
      referencedRelation: "credit_grants"
      referencedColumns: ["id"]
    },{
      foreignKeyName: "credit_uses_ledger_id_fkey"
      columns: ["ledger_id"]
isOneToOne: false
      referencedRelation: "credit_ledger"
      referencedColumns: ["id"]
    }
                  ]
                },"credits": {
                  Row: {
                    "balance": number,"debt": number,"updated_at": string,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "balance"?: number,"debt"?: number,"updated_at"?: string,"user_id": string
                  }
                  Update: {
                    "balance"?: number,"debt"?: number,"updated_at"?: string,"user_id"?: string
                  }
                  Relationships: [
                    
                  ]
                },"data_requests": {
                  Row: {
                    "attempt": number,"bucket": string | null,"created_at": string,"cursor": NonNullable<Json>,"error": Json | null,"expires_at": string | null,"finished_at": string | null,"id": string,"kind": string,"lease_expires_at": string | null,"lease_token": string | null,"max_attempts": number,"options": NonNullable<Json>,"path": string | null,"progress": number,"queue": string,"receipt": NonNullable<Json>,"run_at": string,"size": number | null,"started_at": string | null,"status": string,"step": string | null,"user_id": string,"worker": string | null,"request_document": Json | null
                  }
                  ComputedFields: "request_document"
                  Insert: {
                    "attempt"?: number,"bucket"?: string | null,"created_at"?: string,"cursor"?: NonNullable<Json>,"error"?: Json | null,"expires_at"?: string | null,"finished_at"?: string | null,"id"?: string,"kind": string,"lease_expires_at"?: string | null,"lease_token"?: string | null,"max_attempts": number,"options"?: NonNullable<Json>,"path"?: string | null,"progress"?: number,"queue": string,"receipt"?: NonNullable<Json>,"run_at"?: string,"size"?: number | null,"started_at"?: string | null,"status"?: string,"step"?: string | null,"user_id": string,"worker"?: string | null
                  }
                  Update: {
                    "attempt"?: number,"bucket"?: string | null,"created_at"?: string,"cursor"?: NonNullable<Json>,"error"?: Json | null,"expires_at"?: string | null,"finished_at"?: string | null,"id"?: string,"kind"?: string,"lease_expires_at"?: string | null,"lease_token"?: string | null,"max_attempts"?: number,"options"?: NonNullable<Json>,"path"?: string | null,"progress"?: number,"queue"?: string,"receipt"?: NonNullable<Json>,"run_at"?: string,"size"?: number | null,"started_at"?: string | null,"status"?: string,"step"?: string | null,"user_id"?: string,"worker"?: string | null
                  }
                  Relationships: [
                    
                  ]
                },"image_outputs": {
                  Row: {
                    "bucket": string,"cache_key": string | null,"content_type": string,"created_at": string,"deleted_at": string | null,"expires_at": string | null,"height": number,"id": string,"image_id": string | null,"input_content_type": string,"input_height": number,"input_sha256": string,"input_size": number,"input_width": number,"job_id": string | null,"op_key": string,"ops": (string)[],"path": string,"scan": string,"sha256": string,"size": number,"thumb_path": string,"user_id": string | null,"variant": string,"version": number | null,"width": number,"library_document": Json | null,"output_document": Json | null,"refuse_promotion": undefined | null,"show_version": Json | null,"version_document": Json | null
                  }
                  ComputedFields: "library_document" | "output_document" | "refuse_promotion" | "show_version" | "version_document"
                  Insert: {
                    "bucket": string,"cache_key"?: string | null,"content_type": string,"created_at"?: string,"deleted_at"?: string | null,"expires_at"?: string | null,"height": number,"id"?: string,"image_id"?: string | null,"input_content_type": string,"input_height": number,"input_sha256": string,"input_size": number,"input_width": number,"job_id"?: string | null,"op_key": string,"ops"?: never,"path": string,"scan"?: string,"sha256": string,"size": number,"thumb_path": string,"user_id"?: string | null,"variant": string,"version"?: number | null,"width": number
                  }
                  Update: {
                    "bucket"?: string,"cache_key"?: string | null,"content_type"?: string,"created_at"?: string,"deleted_at"?: string | null,"expires_at"?: string | null,"height"?: number,"id"?: string,"image_id"?: string | null,"input_content_type"?: string,"input_height"?: number,"input_sha256"?: string,"input_size"?: number,"input_width"?: number,"job_id"?: string | null,"op_key"?: string,"ops"?: never,"path"?: string,"scan"?: string,"sha256"?: string,"size"?: number,"thumb_path"?: string,"user_id"?: string | null,"variant"?: string,"version"?: number | null,"width"?: number
                  }
                  Relationships: [
                    {
      foreignKeyName: "image_outputs_image_id_fkey"
      columns: ["image_id"]
isOneToOne: false
      referencedRelation: "images"
      referencedColumns: ["id"]
    },{
      foreignKeyName: "image_outputs_job_id_fkey"
      columns: ["job_id"]
isOneToOne: false
      referencedRelation: "jobs"
      referencedColumns: ["id"]
    }
                  ]
                },"images": {
                  Row: {
                    "archived_at": string | null,"content_type": string,"created_at": string,"current_output_id": string | null,"filename": string,"height": number,"id": string,"listed_since": string | null,"original_attempts": number,"original_due_at": string | null,"original_path": string | null,"original_sha256": string | null,"original_size": number | null,"prompt": string | null,"search": unknown,"sha256": string,"size": number,"user_id": string,"width": number,"image_document": Json | null,"upload_of": string | null
                  }
                  ComputedFields: "image_document" | "upload_of"
                  Insert: {
                    "archived_at"?: string | null,"content_type": string,"created_at"?: string,"current_output_id"?: string | null,"filename": string,"height": number,"id"?: string,"listed_since"?: string | null,"original_attempts"?: number,"original_due_at"?: string | null,"original_path"?: string | null,"original_sha256"?: string | null,"original_size"?: number | null,"prompt"?: string | null,"search"?: never,"sha256": string,"size": number,"user_id": string,"width": number
                  }
                  Update: {
                    "archived_at"?: string | null,"content_type"?: string,"created_at"?: string,"current_output_id"?: string | null,"filename"?: string,"height"?: number,"id"?: string,"listed_since"?: string | null,"original_attempts"?: number,"original_due_at"?: string | null,"original_path"?: string | null,"original_sha256"?: string | null,"original_size"?: number | null,"prompt"?: string | null,"search"?: never,"sha256"?: string,"size"?: number,"user_id"?: string,"width"?: number
                  }
                  Relationships: [
                    {
      foreignKeyName: "images_current_output_id_fkey"
      columns: ["current_output_id"]
isOneToOne: false
      referencedRelation: "image_outputs"
      referencedColumns: ["id"]
    }
                  ]
                },"job_events": {
                  Row: {
                    "attempt": number,"created_at": string,"id": number,"job_id": string,"type": string,"user_id": string | null
                  }
                  ComputedFields: never
                  Insert: {
                    "attempt": number,"created_at"?: string,"id"?: never,"job_id": string,"type": string,"user_id"?: string | null
                  }
                  Update: {
                    "attempt"?: number,"created_at"?: string,"id"?: never,"job_id"?: string,"type"?: string,"user_id"?: string | null
                  }
                  Relationships: [
                    {
      foreignKeyName: "job_events_job_id_fkey"
      columns: ["job_id"]
isOneToOne: false
      referencedRelation: "jobs"
      referencedColumns: ["id"]
    }
                  ]
                },"jobs": {
                  Row: {
                    "attempt": number,"cache_key": string | null,"charged": number,"content_type": string | null,"created_at": string,"error": Json | null,"expires_at": string,"filename": string,"finished_at": string | null,"height": number,"id": string,"image_id": string | null,"keep_days": number | null,"lease_expires_at": string | null,"lease_token": string | null,"max_attempts": number,"op_key": string,"output_id": string | null,"price": number,"priority": number,"progress": number,"queue": string,"request_id": string | null,"run_at": string,"sha256": string,"size": number,"source_bucket": string,"started_at": string | null,"status": string,"step": string | null,"upload_expires_at": string | null,"upload_path": string,"user_id": string | null,"variant": string,"wants_persist": boolean,"width": number,"worker": string | null,"hold_credits": undefined | null,"job_document": Json | null
                  }
                  ComputedFields: "hold_credits" | "job_document"
                  Insert: {
                    "attempt"?: number,"cache_key"?: string | null,"charged"?: number,"content_type"?: string | null,"created_at"?: string,"error"?: Json | null,"expires_at": string,"filename": string,"finished_at"?: string | null,"height": number,"id"?: string,"image_id"?: string | null,"keep_days"?: number | null,"lease_expires_at"?: string | null,"lease_token"?: string | null,"max_attempts"?: number,"op_key": string,"output_id"?: string | null,"price"?: number,"priority"?: number,"progress"?: number,"queue"?: string,"request_id"?: string | null,"run_at"?: string,"sha256": string,"size": number,"source_bucket"?: string,"started_at"?: string | null,"status"?: string,"step"?: string | null,"upload_expires_at"?: string | null,"upload_path": string,"user_id"?: string | null,"variant"?: string,"wants_persist"?: boolean,"width": number,"worker"?: string | null
                  }
                  Update: {
                    "attempt"?: number,"cache_key"?: string | null,"charged"?: number,"content_type"?: string | null,"created_at"?: string,"error"?: Json | null,"expires_at"?: string,"filename"?: string,"finished_at"?: string | null,"height"?: number,"id"?: string,"image_id"?: string | null,"keep_days"?: number | null,"lease_expires_at"?: string | null,"lease_token"?: string | null,"max_attempts"?: number,"op_key"?: string,"output_id"?: string | null,"price"?: number,"priority"?: number,"progress"?: number,"queue"?: string,"request_id"?: string | null,"run_at"?: string,"sha256"?: string,"size"?: number,"source_bucket"?: string,"started_at"?: string | null,"status"?: string,"step"?: string | null,"upload_expires_at"?: string | null,"upload_path"?: string,"user_id"?: string | null,"variant"?: string,"wants_persist"?: boolean,"width"?: number,"worker"?: string | null
                  }
                  Relationships: [
                    {
      foreignKeyName: "jobs_output_fk"
      columns: ["output_id"]
isOneToOne: false
      referencedRelation: "image_outputs"
      referencedColumns: ["id"]
    }
                  ]
                },"plans": {
                  Row: {
                    "created_at": string,"id": string,"max_pending": number,"max_running": number,"name": string,"persistent": boolean,"priority": number,"promote_price": number,"signup_credits": number,"watermark": boolean,"working_side": number
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"id": string,"max_pending": number,"max_running": number,"name": string,"persistent"?: boolean,"priority"?: number,"promote_price"?: number,"signup_credits"?: number,"watermark"?: boolean,"working_side"?: number
                  }
                  Update: {
                    "created_at"?: string,"id"?: string,"max_pending"?: number,"max_running"?: number,"name"?: string,"persistent"?: boolean,"priority"?: number,"promote_price"?: number,"signup_credits"?: number,"watermark"?: boolean,"working_side"?: number
                  }
                  Relationships: [
                    
                  ]
                },"profiles": {
                  Row: {
                    "archive_after_days": number | null,"created_at": string,"keep_full_res": boolean,"keep_original": boolean,"plan_id": string,"updated_at": string,"user_id": string,"versions_to_keep": number
                  }
                  ComputedFields: never
                  Insert: {
                    "archive_after_days"?: number | null,"created_at"?: string,"keep_full_res"?: boolean,"keep_original"?: boolean,"plan_id"?: string,"updated_at"?: string,"user_id": string,"versions_to_keep"?: number
                  }
                  Update: {
                    "archive_after_days"?: number | null,"created_at"?: string,"keep_full_res"?: boolean,"keep_original"?: boolean,"plan_id"?: string,"updated_at"?: string,"user_id"?: string,"versions_to_keep"?: number
                  }
                  Relationships: [
                    {
      foreignKeyName: "profiles_plan_id_fkey"
      columns: ["plan_id"]
isOneToOne: false
      referencedRelation: "plans"
      referencedColumns: ["id"]
    }
                  ]
                },"share_links": {
                  Row: {
                    "created_at": string,"expires_at": string,"has_password": boolean,"id": string,"last_viewed_at": string | null,"max_views": number | null,"output_id": string | null,"revoked_at": string | null,"user_id": string,"views": number,"share_document": Json | null,"share_status": string | null
                  }
                  ComputedFields: "share_document" | "share_status"
                  Insert: {
                    "created_at"?: string,"expires_at": string,"has_password": boolean,"id"?: string,"last_viewed_at"?: string | null,"max_views"?: number | null,"output_id"?: string | null,"revoked_at"?: string | null,"user_id": string,"views"?: number
                  }
                  Update: {
                    "created_at"?: string,"expires_at"?: string,"has_password"?: boolean,"id"?: string,"last_viewed_at"?: string | null,"max_views"?: number | null,"output_id"?: string | null,"revoked_at"?: string | null,"user_id"?: string,"views"?: number
                  }
                  Relationships: [
                    {
      foreignKeyName: "share_links_output_id_fkey"
      columns: ["output_id"]
isOneToOne: false
      referencedRelation: "image_outputs"
      referencedColumns: ["id"]
    }
                  ]
                },"share_secrets": {
                  Row: {
                    "password_hash": string | null,"share_id": string,"token_hash": string
                  }
                  ComputedFields: never
                  Insert: {
                    "password_hash"?: string | null,"share_id": string,"token_hash": string
                  }
                  Update: {
                    "password_hash"?: string | null,"share_id"?: string,"token_hash"?: string
                  }
                  Relationships: [
                    {
      foreignKeyName: "share_secrets_share_id_fkey"
      columns: ["share_id"]
isOneToOne: true
      referencedRelation: "share_links"
      referencedColumns: ["id"]
    }
                  ]
                },"tombstones": {
                  Row: {
                    "attempts": number,"bucket": string,"created_at": string,"id": number,"not_before": string,"path": string,"purged_at": string | null,"reason": string,"request_id": string | null
                  }
                  ComputedFields: never
                  Insert: {
                    "attempts"?: number,"bucket": string,"created_at"?: string,"id"?: never,"not_before"?: string,"path": string,"purged_at"?: string | null,"reason": string,"request_id"?: string | null
                  }
                  Update: {
                    "attempts"?: number,"bucket"?: string,"created_at"?: string,"id"?: never,"not_before"?: string,"path"?: string,"purged_at"?: string | null,"reason"?: string,"request_id"?: string | null
                  }
                  Relationships: [
                    
                  ]
                }
          }
          Views: {
            [_ in never]: never
          }
          Functions: {
            "adopt_output":
{ Args: { "p_filename": string,"p_job_id": string,"p_output_seconds": number,"p_path": string,"p_request_id": string,"p_source_id": string,"p_thumb_path": string,"p_user_id": string }; Returns: Json
                           },
"archive_due":
{ Args: { "p_limit": number }; Returns: number
                           },
"assert_no_deletion":
{ Args: { "p_user_id": string }; Returns: undefined
                           },
"available_credits":
{ Args: { "p_user_id": string }; Returns: number
                           },
"block_hash":
{ Args: { "p_by": string,"p_category": string,"p_reason": string,"p_sha256": string }; Returns: Json
                           },
"block_lock":
{ Args: { "p_sha256": string }; Returns: number
                           },
"blocked_category":
{ Args: { "p_sha256s": (string)[] }; Returns: string
                           },
"bury_missing":
{ Args: { "p_limit": number }; Returns: Json
                           },
"bury_output":
{ Args: { "p_output_id": string,"p_reason": string }; Returns: undefined
                           },
"cache_key":
{ Args: { "p_op_key": string,"p_sha256": string,"p_variant": string }; Returns: string
                           },
"cached_output":
{ Args: { "p_job_id": string,"p_lease_token": string,"p_output_seconds": number }; Returns: Json
                           },
"cancel_job":
{ Args: { "p_job_id": string,"p_user_id": string }; Returns: Json
                           },
"change_images":
{ Args: { "p_action": string,"p_collection_id": string,"p_image_ids": (string)[],"p_user_id": string }; Returns: Json
                           },
"check_invariants":
{ Args: Record<PropertyKey, never>; Returns: {
              "invariant": string,"subject": string
            }[]
                           },
"check_place":
{ Args: { "p_collection_id": string,"p_name": string,"p_parent_id": string,"p_user_id": string }; Returns: undefined
                           },
"claim_jobs":
{ Args: { "p_claims": string,"p_output_seconds": number,"p_user_id": string }; Returns: Json
                           },
"claim_next":
{ Args: { "p_lease_seconds": number,"p_queue": string,"p_worker": string }; Returns: Json
                           },
"claim_request":
{ Args: { "p_lease_seconds": number,"p_queue": string,"p_worker": string }; Returns: Json
                           },
"claw_back":
{ Args: { "p_actor"?: string,"p_amount": number,"p_reason": string,"p_reference": string,"p_source": string,"p_user_id": string }; Returns: Json
                           },
"close_account":
{ Args: { "p_lease_token": string,"p_request_id": string }; Returns: string
                           },
"complete_from_cache":
{ Args: { "p_job_id": string,"p_lease_token": string,"p_output_id": string }; Returns: Json
                           },
"complete_job":
{ Args: { "p_job_id": string,"p_lease_token": string,"p_output": string,"p_output_seconds": number }; Returns: Json
                           },
"confirm_purged":
{ Args: { "p_ids": (number)[] }; Returns: number
                           },
"create_collection":
{ Args: { "p_name": string,"p_parent_id": string,"p_user_id": string }; Returns: Json
                           },
"create_share":
{ Args: { "p_max_views": number,"p_output_id": string,"p_password_hash": string,"p_seconds": number,"p_token_hash": string,"p_user_id": string }; Returns: Json
                           },
"credit_history":
{ Args: { "p_before": number,"p_limit": number,"p_user_id": string }; Returns: Json
                           },
"delete_collection":
{ Args: { "p_collection_id": string,"p_user_id": string }; Returns: boolean
                           },
"delete_image":
{ Args: { "p_image_id": string,"p_user_id": string }; Returns: Json
                           },
"delete_output":
{ Args: { "p_output_id": string,"p_user_id": string }; Returns: Json
                           },
"draw_credits":
{ Args: { "p_amount": number,"p_first"?: number,"p_ledger_id": number,"p_user_id": string }; Returns: undefined
                           },
"due_originals":
{ Args: { "p_limit": number }; Returns: Json
                           },
"due_tombstones":
{ Args: { "p_limit": number }; Returns: Json
                           },
"end_request":
{ Args: { "p_error": Json,"p_request": Omit<Database["public"]['Tables']["data_requests"]['Row'], Database["public"]['Tables']["data_requests"]['ComputedFields']> }; Returns: undefined
                           },
"entomb":
{ Args: { "p_bucket": string,"p_path": string,"p_reason": string }; Returns: undefined
                           },
"entomb_for":
{ Args: { "p_bucket": string,"p_path": string,"p_request_id": string }; Returns: undefined
                           },
"entomb_leftovers":
{ Args: { "p_bucket": string,"p_job": Omit<Database["public"]['Tables']["jobs"]['Row'], Database["public"]['Tables']["jobs"]['ComputedFields']>,"p_path": string,"p_thumb_path": string }; Returns: undefined
                           },
"entomb_orphans":
{ Args: { "p_limit": number,"p_older_than": string }; Returns: number
                           },
"expire_credits":
{ Args: { "p_because"?: string,"p_user_id": string }; Returns: number
                           },
"expire_due":
{ Args: { "p_limit": number }; Returns: Json
                           },
"expire_grants":
{ Args: { "p_limit": number }; Returns: Json
                           },
"expire_requests":
{ Args: { "p_limit": number }; Returns: number
                           },
"export_originals":
{ Args: { "p_image_ids": (string)[],"p_lease_token": string,"p_request_id": string }; Returns: Json
                           },
"export_page":
{ Args: { "p_after": string,"p_lease_token": string,"p_limit": number,"p_request_id": string,"p_table": string }; Returns: Json
                           },
"fail_job":
{ Args: { "p_drop_upload": boolean,"p_error": string,"p_job_id": string,"p_lease_token": string,"p_retry_seconds": number }; Returns: Json
                           },
"fail_request":
{ Args: { "p_error": string,"p_lease_token": string,"p_request_id": string,"p_seconds": number }; Returns: Json
                           },
"find_claimable":
{ Args: { "p_job_ids": (string)[],"p_user_id": string }; Returns: Json
                           },
"find_output":
{ Args: { "p_cache_key": string,"p_ttl": string,"p_user_id": string }; Returns: {
              "bucket": string,
"cache_key": string | null,
"content_type": string,
"created_at": string,
"deleted_at": string | null,
"expires_at": string | null,
"height": number,
"id": string,
"image_id": string | null,
"input_content_type": string,
"input_height": number,
"input_sha256": string,
"input_size": number,
"input_width": number,
"job_id": string | null,
"op_key": string,
"ops": (string)[],
"path": string,
"scan": string,
"sha256": string,
"size": number,
"thumb_path": string,
"user_id": string | null,
"variant": string,
"version": number | null,
"width": number
            }
                          SetofOptions: {
        from: "*"
        to: "image_outputs"
        isOneToOne: true
        isSetofReturn: false
      } },
"find_promotable":
{ Args: { "p_job_id": string,"p_output_id": string,"p_user_id": string }; Returns: Json
                           },
"find_share":
{ Args: { "p_token_hash": string }; Returns: Json
                           },
"finish_deletion":
{ Args: { "p_account": string,"p_lease_token": string,"p_receipt_seconds": number,"p_request_id": string }; Returns: Json
                           },
"finish_export":
{ Args: { "p_keep_seconds": number,"p_lease_token": string,"p_path": string,"p_receipt": string,"p_request_id": string,"p_size": number }; Returns: Json
                           },
"finish_job":
{ Args: { "p_charge": number,"p_drop_upload": boolean,"p_error": Json,"p_job": Omit<Database["public"]['Tables']["jobs"]['Row'], Database["public"]['Tables']["jobs"]['ComputedFields']>,"p_output_id": string,"p_status": string }; Returns: {
              "attempt": number,
"cache_key": string | null,
"charged": number,
"content_type": string | null,
"created_at": string,
"error": Json | null,
"expires_at": string,
"filename": string,
"finished_at": string | null,
"height": number,
"id": string,
"image_id": string | null,
"keep_days": number | null,
"lease_expires_at": string | null,
"lease_token": string | null,
"max_attempts": number,
"op_key": string,
"output_id": string | null,
"price": number,
"priority": number,
"progress": number,
"queue": string,
"request_id": string | null,
"run_at": string,
"sha256": string,
"size": number,
"source_bucket": string,
"started_at": string | null,
"status": string,
"step": string | null,
"upload_expires_at": string | null,
"upload_path": string,
"user_id": string | null,
"variant": string,
"wants_persist": boolean,
"width": number,
"worker": string | null
            }
                          SetofOptions: {
        from: "*"
        to: "jobs"
        isOneToOne: true
        isSetofReturn: false
      } },
"get_credits":
{ Args: { "p_user_id": string }; Returns: Json
                           },
"get_image":
{ Args: { "p_image_id": string,"p_user_id": string }; Returns: Json
                           },
"get_image_source":
{ Args: { "p_image_id": string,"p_user_id": string }; Returns: Json
                           },
"get_job":
{ Args: { "p_job_id": string,"p_user_id": string }; Returns: Json
                           },
"get_job_events":
{ Args: { "p_after": number,"p_job_id": string,"p_user_id": string }; Returns: Json
                           },
"get_profile":
{ Args: { "p_user_id": string }; Returns: Json
                           },
"get_request":
{ Args: { "p_request_id": string,"p_user_id": string }; Returns: Json
                           },
"grant_credits":
{ Args: { "p_actor"?: string,"p_amount": number,"p_expires_at"?: string,"p_note"?: string,"p_reference": string,"p_source": string,"p_user_id": string }; Returns: boolean
                           },
"heartbeat":
{ Args: { "p_job_id": string,"p_lease_seconds": number,"p_lease_token": string,"p_progress": number,"p_step": string }; Returns: string
                           },
"heartbeat_request":
{ Args: { "p_lease_seconds": number,"p_lease_token": string,"p_progress": number,"p_request_id": string,"p_step": string }; Returns: undefined
                           },
"hold_credits":
{ Args: { "p_job": Omit<Database["public"]['Tables']["jobs"]['Row'], Database["public"]['Tables']["jobs"]['ComputedFields']> }; Returns: undefined
                           },
"image_document":
{ Args: { "p_image": Omit<Database["public"]['Tables']["images"]['Row'], Database["public"]['Tables']["images"]['ComputedFields']> }; Returns: Json
                           },
"image_of_key":
{ Args: { "p_path": string }; Returns: string
                           },
"intake":
{ Args: { "p_api_key_id"?: string,"p_await_seconds": number,"p_cacheable": boolean,"p_content_type": string,"p_filename": string,"p_height": number,"p_hit_price"?: number,"p_ip"?: string,"p_keep_days"?: number,"p_may_upload"?: boolean,"p_op_key": string,"p_output_seconds": number,"p_price": number,"p_queue": string,"p_quoted_price"?: number,"p_request_id": string,"p_sha256": string,"p_size": number,"p_team_id"?: string,"p_upload_seconds": number,"p_use_cache": boolean,"p_user_id": string,"p_variant": string,"p_wants_persist": boolean,"p_width": number }; Returns: Json
                           },
"is_original":
{ Args: { "p_path": string }; Returns: boolean
                           },
"job_document":
{ Args: { "p_job": Omit<Database["public"]['Tables']["jobs"]['Row'], Database["public"]['Tables']["jobs"]['ComputedFields']> }; Returns: Json
                           },
"job_of_output":
{ Args: { "p_path": string }; Returns: string
                           },
"job_of_upload":
{ Args: { "p_path": string }; Returns: string
                           },
"keep_output":
{ Args: { "p_days": number,"p_output_id": string,"p_user_id": string }; Returns: Json
                           },
"leased_job":
{ Args: { "p_job_id": string,"p_lease_token": string }; Returns: {
              "attempt": number,
"cache_key": string | null,
"charged": number,
"content_type": string | null,
"created_at": string,
"error": Json | null,
"expires_at": string,
"filename": string,
"finished_at": string | null,
"height": number,
"id": string,
"image_id": string | null,
"keep_days": number | null,
"lease_expires_at": string | null,
"lease_token": string | null,
"max_attempts": number,
"op_key": string,
"output_id": string | null,
"price": number,
"priority": number,
"progress": number,
"queue": string,
"request_id": string | null,
"run_at": string,
"sha256": string,
"size": number,
"source_bucket": string,
"started_at": string | null,
"status": string,
"step": string | null,
"upload_expires_at": string | null,
"upload_path": string,
"user_id": string | null,
"variant": string,
"wants_persist": boolean,
"width": number,
"worker": string | null
            }
                          SetofOptions: {
        from: "*"
        to: "jobs"
        isOneToOne: true
        isSetofReturn: false
      } },
"leased_request":
{ Args: { "p_lease_token": string,"p_request_id": string }; Returns: {
              "attempt": number,
"bucket": string | null,
"created_at": string,
"cursor": NonNullable<Json>,
"error": Json | null,
"expires_at": string | null,
"finished_at": string | null,
"id": string,
"kind": string,
"lease_expires_at": string | null,
"lease_token": string | null,
"max_attempts": number,
"options": NonNullable<Json>,
"path": string | null,
"progress": number,
"queue": string,
"receipt": NonNullable<Json>,
"run_at": string,
"size": number | null,
"started_at": string | null,
"status": string,
"step": string | null,
"user_id": string,
"worker": string | null
            }
                          SetofOptions: {
        from: "*"
        to: "data_requests"
        isOneToOne: true
        isSetofReturn: false
      } },
"library_document":
{ Args: { "p_output": Omit<Database["public"]['Tables']["image_outputs"]['Row'], Database["public"]['Tables']["image_outputs"]['ComputedFields']> }; Returns: Json
                           },
"list_collections":
{ Args: { "p_collection_id": string,"p_user_id": string }; Returns: Json
                           },
"list_images":
{ Args: { "p_after": string,"p_after_id": string,"p_archived": boolean,"p_collection_id": string,"p_created_after": string,"p_created_before": string,"p_limit": number,"p_op": string,"p_query": string,"p_user_id": string }; Returns: Json
                           },
"list_shares":
{ Args: { "p_output_id": string,"p_user_id": string }; Returns: Json
                           },
"lock_credits":
{ Args: { "p_user_id": string }; Returns: {
              "balance": number,
"debt": number,
"updated_at": string,
"user_id": string
            }
                          SetofOptions: {
        from: "*"
        to: "credits"
        isOneToOne: true
        isSetofReturn: false
      } },
"lock_user":
{ Args: { "p_user_id": string }; Returns: undefined
                           },
"mark_scanned":
{ Args: { "p_output_id": string,"p_scan": string }; Returns: undefined
                           },
"mark_uploaded":
{ Args: { "p_job_id": string,"p_user_id": string }; Returns: Json
                           },
"move_credits":
{ Args: { "p_debt"?: number,"p_delta": number,"p_reason": string,"p_reference": string,"p_user_id": string }; Returns: number
                           },
"next_version":
{ Args: { "p_image_id": string }; Returns: number
                           },
"note_wiped":
{ Args: { "p_count": number,"p_request_id": string,"p_table": string }; Returns: undefined
                           },
"open_share":
{ Args: { "p_share_id": string }; Returns: undefined
                           },
"output_document":
{ Args: { "p_output": Omit<Database["public"]['Tables']["image_outputs"]['Row'], Database["public"]['Tables']["image_outputs"]['ComputedFields']> }; Returns: Json
                           },
"pay_debt":
{ Args: { "p_reference": string,"p_user_id": string }; Returns: undefined
                           },
"personal_tables":
{ Args: Record<PropertyKey, never>; Returns: {
              "hidden": (string)[],"name": string,"owner": string,"page_key": string,"treatment": string
            }[]
                           },
"promote_output":
{ Args: { "p_charge": boolean,"p_output_id": string,"p_path": string,"p_thumb_path": string,"p_user_id": string }; Returns: Json
                           },
"pseudonymise_audit":
{ Args: { "p_pseudonym": string,"p_user_id": string }; Returns: number
                           },
"pseudonymise_ledger":
{ Args: { "p_pseudonym": string,"p_user_id": string }; Returns: number
                           },
"purge_shares":
{ Args: { "p_limit": number }; Returns: number
                           },
"queue_position":
{ Args: { "p_job_id": string }; Returns: number
                           },
"queue_stats":
{ Args: Record<PropertyKey, never>; Returns: Json
                           },
"recently_buried":
{ Args: Record<PropertyKey, never>; Returns: Json
                           },
"record_image":
{ Args: { "p_input": Omit<Database["public"]['Tables']["image_outputs"]['Row'], Database["public"]['Tables']["image_outputs"]['ComputedFields']>,"p_job": Omit<Database["public"]['Tables']["jobs"]['Row'], Database["public"]['Tables']["jobs"]['ComputedFields']>,"p_original": Omit<Database["public"]['Tables']["images"]['Row'], Database["public"]['Tables']["images"]['ComputedFields']> }; Returns: string
                           },
"record_original":
{ Args: { "p_image_id": string,"p_path": string,"p_sha256"?: string,"p_size"?: number }; Returns: boolean
                           },
"record_output":
{ Args: { "p_job": Omit<Database["public"]['Tables']["jobs"]['Row'], Database["public"]['Tables']["jobs"]['ComputedFields']>,"p_output": Json,"p_output_seconds": number }; Returns: {
              "bucket": string,
"cache_key": string | null,
"content_type": string,
"created_at": string,
"deleted_at": string | null,
"expires_at": string | null,
"height": number,
"id": string,
"image_id": string | null,
"input_content_type": string,
"input_height": number,
"input_sha256": string,
"input_size": number,
"input_width": number,
"job_id": string | null,
"op_key": string,
"ops": (string)[],
"path": string,
"scan": string,
"sha256": string,
"size": number,
"thumb_path": string,
"user_id": string | null,
"variant": string,
"version": number | null,
"width": number
            }
                          SetofOptions: {
        from: "*"
        to: "image_outputs"
        isOneToOne: true
        isSetofReturn: false
      } },
"refund_job":
{ Args: { "p_actor"?: string,"p_job_id": string,"p_reason": string }; Returns: boolean
                           },
"refuse_blocked":
{ Args: { "p_sha256s": (string)[] }; Returns: undefined
                           },
"refuse_blocked_for_good":
{ Args: { "p_sha256s": (string)[] }; Returns: undefined
                           },
"refuse_promotion":
{ Args: { "p_output": Omit<Database["public"]['Tables']["image_outputs"]['Row'], Database["public"]['Tables']["image_outputs"]['ComputedFields']> }; Returns: undefined
                           },
"request_deletion":
{ Args: { "p_delete_account": boolean,"p_queue": string,"p_user_id": string }; Returns: Json
                           },
"request_document":
{ Args: { "p_request": Omit<Database["public"]['Tables']["data_requests"]['Row'], Database["public"]['Tables']["data_requests"]['ComputedFields']> }; Returns: Json
                           },
"request_export":
{ Args: { "p_fresh_seconds": number,"p_queue": string,"p_user_id": string }; Returns: Json
                           },
"request_tombstones":
{ Args: { "p_lease_token": string,"p_limit": number,"p_request_id": string }; Returns: Json
                           },
"restore_output":
{ Args: { "p_output_id": string,"p_user_id": string }; Returns: Json
                           },
"return_credits":
{ Args: { "p_reference": string,"p_user_id": string }; Returns: undefined
                           },
"revoke_share":
{ Args: { "p_share_id": string,"p_user_id": string }; Returns: Json
                           },
"search_query":
{ Args: { "p_text": string }; Returns: unknown
                           },
"set_profile":
{ Args: { "p_changes": string,"p_user_id": string }; Returns: Json
                           },
"settle_credits":
{ Args: { "p_charge": number,"p_job": Omit<Database["public"]['Tables']["jobs"]['Row'], Database["public"]['Tables']["jobs"]['ComputedFields']> }; Returns: undefined
                           },
"share_document":
{ Args: { "p_link": Omit<Database["public"]['Tables']["share_links"]['Row'], Database["public"]['Tables']["share_links"]['ComputedFields']> }; Returns: Json
                           },
"share_status":
{ Args: { "p_link": Omit<Database["public"]['Tables']["share_links"]['Row'], Database["public"]['Tables']["share_links"]['ComputedFields']> }; Returns: string
                           },
"show_version":
{ Args: { "p_output": Omit<Database["public"]['Tables']["image_outputs"]['Row'], Database["public"]['Tables']["image_outputs"]['ComputedFields']> }; Returns: Json
                           },
"snooze":
{ Args: { "p_job_id": string,"p_lease_token": string,"p_seconds": number }; Returns: undefined
                           },
"snooze_request":
{ Args: { "p_lease_token": string,"p_request_id": string,"p_seconds": number }; Returns: undefined
                           },
"spend_credits":
{ Args: { "p_amount": number,"p_reason": string,"p_reference": string,"p_user_id": string }; Returns: boolean
                           },
"sweep":
{ Args: Record<PropertyKey, never>; Returns: Json
                           },
"take_credits":
{ Args: { "p_actor"?: string,"p_amount": number,"p_reason": string,"p_reference": string,"p_user_id": string }; Returns: Json
                           },
"unblock_hash":
{ Args: { "p_by": string,"p_sha256": string }; Returns: boolean
                           },
"under_pseudonym":
{ Args: { "p_reason": string,"p_reference": string }; Returns: boolean
                           },
"update_collection":
{ Args: { "p_collection_id": string,"p_move": boolean,"p_name": string,"p_parent_id": string,"p_user_id": string }; Returns: Json
                           },
"upload_of":
{ Args: { "p_image": Omit<Database["public"]['Tables']["images"]['Row'], Database["public"]['Tables']["images"]['ComputedFields']> }; Returns: string
                           },
"use_grant":
{ Args: { "p_delta": number,"p_grant_id": number,"p_ledger_id": number }; Returns: undefined
                           },
"version_document":
{ Args: { "p_output": Omit<Database["public"]['Tables']["image_outputs"]['Row'], Database["public"]['Tables']["image_outputs"]['ComputedFields']> }; Returns: Json
                           },
"want_original":
{ Args: { "p_image_id": string }; Returns: undefined
                           },
"wipe_batch":
{ Args: { "p_lease_token": string,"p_limit": number,"p_request_id": string }; Returns: Json
                           },
"wipe_images":
{ Args: { "p_limit": number,"p_request": Omit<Database["public"]['Tables']["data_requests"]['Row'], Database["public"]['Tables']["data_requests"]['ComputedFields']> }; Returns: Record<string, unknown>
                           },
"wipe_jobs":
{ Args: { "p_limit": number,"p_request": Omit<Database["public"]['Tables']["data_requests"]['Row'], Database["public"]['Tables']["data_requests"]['ComputedFields']> }; Returns: number
                           },
"wipe_money":
{ Args: { "p_lease_token": string,"p_request_id": string }; Returns: undefined
                           },
"wipe_objects":
{ Args: { "p_bucket": string,"p_lease_token": string,"p_paths": (string)[],"p_request_id": string }; Returns: number
                           },
"wipe_outputs":
{ Args: { "p_limit": number,"p_request": Omit<Database["public"]['Tables']["data_requests"]['Row'], Database["public"]['Tables']["data_requests"]['ComputedFields']> }; Returns: Record<string, unknown>
                           },
"wipe_rows":
{ Args: { "p_limit": number,"p_request": Omit<Database["public"]['Tables']["data_requests"]['Row'], Database["public"]['Tables']["data_requests"]['ComputedFields']> }; Returns: number
                           },
"wipe_unfinished":
{ Args: { "p_limit": number,"p_request": Omit<Database["public"]['Tables']["data_requests"]['Row'], Database["public"]['Tables']["data_requests"]['ComputedFields']> }; Returns: number
                           }
          }
          Enums: {
            [_ in never]: never
          }
          CompositeTypes: {
            [_ in never]: never
          }
        }
}

type DatabaseWithoutInternals = Omit<Database, '__InternalSupabase'>

type DefaultSchema = DatabaseWithoutInternals[Extract<keyof Database, "public">]

export type Tables<
  DefaultSchemaTableNameOrOptions extends
    | keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
        DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])
    : never = never
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
      DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])[TableName] extends {
      Row: infer R
    }
    ? R
    : never
  : DefaultSchemaTableNameOrOptions extends keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
  ? (DefaultSchema["Tables"] & DefaultSchema["Views"])[DefaultSchemaTableNameOrOptions] extends {
      Row: infer R
    }
    ? R
    : never
  : never

export type TablesInsert<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never = never
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
      Insert: infer I
    }
    ? I
    : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
  ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
      Insert: infer I
    }
    ? I
    : never
  : never

export type TablesUpdate<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never = never
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
      Update: infer U
    }
    ? U
    : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
  ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
      Update: infer U
    }
    ? U
    : never
  : never

export type Enums<
  DefaultSchemaEnumNameOrOptions extends
    | keyof DefaultSchema["Enums"]
    | { schema: keyof DatabaseWithoutInternals },
  EnumName extends DefaultSchemaEnumNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"]
    : never = never
> = DefaultSchemaEnumNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"][EnumName]
  : DefaultSchemaEnumNameOrOptions extends keyof DefaultSchema["Enums"]
  ? DefaultSchema["Enums"][DefaultSchemaEnumNameOrOptions]
  : never

export type CompositeTypes<
  PublicCompositeTypeNameOrOptions extends
    | keyof DefaultSchema["CompositeTypes"]
    | { schema: keyof DatabaseWithoutInternals },
  CompositeTypeName extends PublicCompositeTypeNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals
  }
    ? keyof DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"]
    : never = never
> = PublicCompositeTypeNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"][CompositeTypeName]
  : PublicCompositeTypeNameOrOptions extends keyof DefaultSchema["CompositeTypes"]
  ? DefaultSchema["CompositeTypes"][PublicCompositeTypeNameOrOptions]
  : never

export const Constants = {
  "public": {
          Enums: {
            
          }
        }
} as const
