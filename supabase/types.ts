
export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[]

export type Database = {
  
  "public": {
          Tables: {
            "address_usage": {
                  Row: {
                    "address": string,"day": string,"failures": number,"generations": number,"user_id": string | null
                  }
                  ComputedFields: never
                  Insert: {
                    "address": string,"day": string,"failures"?: number,"generations"?: number,"user_id"?: string | null
                  }
                  Update: {
                    "address"?: string,"day"?: string,"failures"?: number,"generations"?: number,"user_id"?: string | null
                  }
                  Relationships: [
                    
                  ]
                },"admins": {
                  Row: {
                    "created_at": string,"granted_by": string,"role": string,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"granted_by": string,"role": string,"user_id": string
                  }
                  Update: {
                    "created_at"?: string,"granted_by"?: string,"role"?: string,"user_id"?: string
                  }
                  Relationships: [
                    
                  ]
                },"api_key_secrets": {
                  Row: {
                    "created_at": string,"hash": string,"key_id": string,"prefix": string,"valid_until": string | null
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"hash": string,"key_id": string,"prefix": string,"valid_until"?: string | null
                  }
                  Update: {
                    "created_at"?: string,"hash"?: string,"key_id"?: string,"prefix"?: string,"valid_until"?: string | null
                  }
                  Relationships: [
                    {
      foreignKeyName: "api_key_secrets_key_id_fkey"
      columns: ["key_id"]
isOneToOne: false
      referencedRelation: "api_keys"
      referencedColumns: ["id"]
    }
                  ]
                },"api_key_spending": {
                  Row: {
                    "credits": number,"key_id": string,"month": string
                  }
                  ComputedFields: never
                  Insert: {
                    "credits": number,"key_id": string,"month": string
                  }
                  Update: {
                    "credits"?: number,"key_id"?: string,"month"?: string
                  }
                  Relationships: [
                    {
      foreignKeyName: "api_key_spending_key_id_fkey"
      columns: ["key_id"]
isOneToOne: false
      referencedRelation: "api_keys"
      referencedColumns: ["id"]
    }
                  ]
                },"api_keys": {
                  Row: {
                    "created_at": string,"expires_at": string | null,"id": string,"last_used_at": string | null,"name": string,"prefix": string,"rate_per_minute": number | null,"revoked_at": string | null,"rotated_at": string | null,"scopes": (string)[],"spend_cap": number | null,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"expires_at"?: string | null,"id"?: string,"last_used_at"?: string | null,"name": string,"prefix": string,"rate_per_minute"?: number | null,"revoked_at"?: string | null,"rotated_at"?: string | null,"scopes": (string)[],"spend_cap"?: number | null,"user_id": string
                  }
                  Update: {
                    "created_at"?: string,"expires_at"?: string | null,"id"?: string,"last_used_at"?: string | null,"name"?: string,"prefix"?: string,"rate_per_minute"?: number | null,"revoked_at"?: string | null,"rotated_at"?: string | null,"scopes"?: (string)[],"spend_cap"?: number | null,"user_id"?: string
                  }
                  Relationships: [
                    
                  ]
                },"audit_log": {
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
                },"byte_checks": {
                  Row: {
                    "after_id": string,"kind": string,"rounds": number
                  }
                  ComputedFields: never
                  Insert: {
                    "after_id": string,"kind": string,"rounds"?: number
                  }
                  Update: {
                    "after_id"?: string,"kind"?: string,"rounds"?: number
                  }
                  Relationships: [
                    
                  ]
                },"collection_items": {
                  Row: {
                    "collection_id": string,"created_at": string,"image_id": string,"owner_id": string | null,"team_id": string | null,"user_id": string | null
                  }
                  ComputedFields: never
                  Insert: {
                    "collection_id": string,"created_at"?: string,"image_id": string,"owner_id"?: never,"team_id"?: string | null,"user_id"?: string | null
                  }
                  Update: {
                    "collection_id"?: string,"created_at"?: string,"image_id"?: string,"owner_id"?: never,"team_id"?: string | null,"user_id"?: string | null
                  }
                  Relationships: [
                    {
      foreignKeyName: "collection_items_collection"
      columns: ["collection_id","owner_id"]
isOneToOne: false
      referencedRelation: "collections"
      referencedColumns: ["id","owner_id"]
    },{
      foreignKeyName: "collection_items_image"
      columns: ["image_id","owner_id"]
isOneToOne: false
      referencedRelation: "images"
      referencedColumns: ["id","owner_id"]
    },{
      foreignKeyName: "collection_items_team_id_fkey"
      columns: ["team_id"]
isOneToOne: false
      referencedRelation: "teams"
      referencedColumns: ["id"]
    }
                  ]
                },"collections": {
                  Row: {
                    "created_at": string,"id": string,"name": string,"owner_id": string | null,"parent_id": string | null,"parent_top": boolean | null,"team_id": string | null,"top": boolean,"updated_at": string,"user_id": string | null
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"id"?: string,"name": string,"owner_id"?: never,"parent_id"?: string | null,"parent_top"?: never,"team_id"?: string | null,"top"?: never,"updated_at"?: string,"user_id"?: string | null
                  }
                  Update: {
                    "created_at"?: string,"id"?: string,"name"?: string,"owner_id"?: never,"parent_id"?: string | null,"parent_top"?: never,"team_id"?: string | null,"top"?: never,"updated_at"?: string,"user_id"?: string | null
                  }
                  Relationships: [
                    {
      foreignKeyName: "collections_parent"
      columns: ["parent_id","owner_id","parent_top"]
isOneToOne: false
      referencedRelation: "collections"
      referencedColumns: ["id","owner_id","top"]
    },{
      foreignKeyName: "collections_team_id_fkey"
      columns: ["team_id"]
isOneToOne: false
      referencedRelation: "teams"
      referencedColumns: ["id"]
    }
                  ]
                },"credit_grants": {
                  Row: {
                    "amount": number,"clawed": number,"created_at": string,"expires_at": string | null,"id": number,"lapsed": number,"note": string | null,"reference": string,"remaining": number,"source": string,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "amount": number,"clawed"?: number,"created_at"?: string,"expires_at"?: string | null,"id"?: never,"lapsed"?: number,"note"?: string | null,"reference": string,"remaining": number,"source": string,"user_id": string
                  }
                  Update: {
                    "amount"?: number,"clawed"?: number,"created_at"?: string,"expires_at"?: string | null,"id"?: never,"lapsed"?: number,"note"?: string | null,"reference"?: string,"remaining"?: number,"source"?: string,"user_id"?: string
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
                },"credit_packs": {
                  Row: {
                    "active": boolean,"created_at": string,"credits": number,"currency": string,"id": string,"name": string,"position": number,"price_cents": number
                  }
                  ComputedFields: never
                  Insert: {
                    "active"?: boolean,"created_at"?: string,"credits": number,"currency"?: string,"id": string,"name": string,"position"?: number,"price_cents": number
                  }
                  Update: {
                    "active"?: boolean,"created_at"?: string,"credits"?: number,"currency"?: string,"id"?: string,"name"?: string,"position"?: number,"price_cents"?: number
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
                    "attempt": number,"bucket": string | null,"created_at": string,"cursor": NonNullable<Json>,"error": Json | null,"expires_at": string | null,"finished_at": string | null,"id": string,"kind": string,"lease_expires_at": string | null,"lease_token": string | null,"max_attempts": number,"options": NonNullable<Json>,"path": string | null,"progress": number,"queue": string,"receipt": NonNullable<Json>,"run_at": string,"size": number | null,"started_at": string | null,"status": string,"step": string | null,"user_id": string,"worker": string | null
                  }
                  ComputedFields: never
                  Insert: {
                    "attempt"?: number,"bucket"?: string | null,"created_at"?: string,"cursor"?: NonNullable<Json>,"error"?: Json | null,"expires_at"?: string | null,"finished_at"?: string | null,"id"?: string,"kind": string,"lease_expires_at"?: string | null,"lease_token"?: string | null,"max_attempts": number,"options"?: NonNullable<Json>,"path"?: string | null,"progress"?: number,"queue": string,"receipt"?: NonNullable<Json>,"run_at"?: string,"size"?: number | null,"started_at"?: string | null,"status"?: string,"step"?: string | null,"user_id": string,"worker"?: string | null
                  }
                  Update: {
                    "attempt"?: number,"bucket"?: string | null,"created_at"?: string,"cursor"?: NonNullable<Json>,"error"?: Json | null,"expires_at"?: string | null,"finished_at"?: string | null,"id"?: string,"kind"?: string,"lease_expires_at"?: string | null,"lease_token"?: string | null,"max_attempts"?: number,"options"?: NonNullable<Json>,"path"?: string | null,"progress"?: number,"queue"?: string,"receipt"?: NonNullable<Json>,"run_at"?: string,"size"?: number | null,"started_at"?: string | null,"status"?: string,"step"?: string | null,"user_id"?: string,"worker"?: string | null
                  }
                  Relationships: [
                    
                  ]
                },"deleted_accounts": {
                  Row: {
                    "at": string,"id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "at"?: string,"id": string
                  }
                  Update: {
                    "at"?: string,"id"?: string
                  }
                  Relationships: [
                    
                  ]
                },"deleted_usage": {
                  Row: {
                    "day": string,"digest": string,"failures": number,"generations": number,"high_res_exports": number
                  }
                  ComputedFields: never
                  Insert: {
                    "day": string,"digest": string,"failures"?: number,"generations"?: number,"high_res_exports"?: number
                  }
                  Update: {
                    "day"?: string,"digest"?: string,"failures"?: number,"generations"?: number,"high_res_exports"?: number
                  }
                  Relationships: [
                    
                  ]
                },"image_outputs": {
                  Row: {
                    "bucket": string,"cache_key": string | null,"content_type": string,"created_at": string,"deleted_at": string | null,"expires_at": string | null,"features": Json | null,"height": number,"id": string,"image_id": string | null,"input_content_type": string,"input_height": number,"input_sha256": string,"input_size": number,"input_width": number,"job_id": string | null,"moderation": string,"moderation_policy": string | null,"moderation_score": number | null,"moderation_tried_at": string | null,"op_key": string,"ops": (string)[],"owner_id": string | null,"path": string,"report": NonNullable<Json>,"scan": string,"scan_tried_at": string | null,"sha256": string,"size": number,"team_id": string | null,"thumb_path": string,"user_id": string | null,"variant": string,"vendor_cost_micros": number,"version": number | null,"width": number
                  }
                  ComputedFields: never
                  Insert: {
                    "bucket": string,"cache_key"?: string | null,"content_type": string,"created_at"?: string,"deleted_at"?: string | null,"expires_at"?: string | null,"features"?: Json | null,"height": number,"id"?: string,"image_id"?: string | null,"input_content_type": string,"input_height": number,"input_sha256": string,"input_size": number,"input_width": number,"job_id"?: string | null,"moderation"?: string,"moderation_policy"?: string | null,"moderation_score"?: number | null,"moderation_tried_at"?: string | null,"op_key": string,"ops"?: never,"owner_id"?: never,"path": string,"report"?: NonNullable<Json>,"scan"?: string,"scan_tried_at"?: string | null,"sha256": string,"size": number,"team_id"?: string | null,"thumb_path": string,"user_id"?: string | null,"variant": string,"vendor_cost_micros"?: number,"version"?: number | null,"width": number
                  }
                  Update: {
                    "bucket"?: string,"cache_key"?: string | null,"content_type"?: string,"created_at"?: string,"deleted_at"?: string | null,"expires_at"?: string | null,"features"?: Json | null,"height"?: number,"id"?: string,"image_id"?: string | null,"input_content_type"?: string,"input_height"?: number,"input_sha256"?: string,"input_size"?: number,"input_width"?: number,"job_id"?: string | null,"moderation"?: string,"moderation_policy"?: string | null,"moderation_score"?: number | null,"moderation_tried_at"?: string | null,"op_key"?: string,"ops"?: never,"owner_id"?: never,"path"?: string,"report"?: NonNullable<Json>,"scan"?: string,"scan_tried_at"?: string | null,"sha256"?: string,"size"?: number,"team_id"?: string | null,"thumb_path"?: string,"user_id"?: string | null,"variant"?: string,"vendor_cost_micros"?: number,"version"?: number | null,"width"?: number
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
    },{
      foreignKeyName: "image_outputs_team_id_fkey"
      columns: ["team_id"]
isOneToOne: false
      referencedRelation: "teams"
      referencedColumns: ["id"]
    }
                  ]
                },"images": {
                  Row: {
                    "archived_at": string | null,"content_type": string,"created_at": string,"current_output_id": string | null,"filename": string,"height": number,"id": string,"listed_since": string | null,"moderation_tried_at": string | null,"original_attempts": number,"original_due_at": string | null,"original_moderation": string,"original_moderation_policy": string | null,"original_moderation_score": number | null,"original_path": string | null,"original_scan": string,"original_sha256": string | null,"original_size": number | null,"owner_id": string | null,"prompt": string | null,"scan_tried_at": string | null,"search": unknown,"sha256": string,"size": number,"team_id": string | null,"user_id": string | null,"width": number
                  }
                  ComputedFields: never
                  Insert: {
                    "archived_at"?: string | null,"content_type": string,"created_at"?: string,"current_output_id"?: string | null,"filename": string,"height": number,"id"?: string,"listed_since"?: string | null,"moderation_tried_at"?: string | null,"original_attempts"?: number,"original_due_at"?: string | null,"original_moderation"?: string,"original_moderation_policy"?: string | null,"original_moderation_score"?: number | null,"original_path"?: string | null,"original_scan"?: string,"original_sha256"?: string | null,"original_size"?: number | null,"owner_id"?: never,"prompt"?: string | null,"scan_tried_at"?: string | null,"search": unknown,"sha256": string,"size": number,"team_id"?: string | null,"user_id"?: string | null,"width": number
                  }
                  Update: {
                    "archived_at"?: string | null,"content_type"?: string,"created_at"?: string,"current_output_id"?: string | null,"filename"?: string,"height"?: number,"id"?: string,"listed_since"?: string | null,"moderation_tried_at"?: string | null,"original_attempts"?: number,"original_due_at"?: string | null,"original_moderation"?: string,"original_moderation_policy"?: string | null,"original_moderation_score"?: number | null,"original_path"?: string | null,"original_scan"?: string,"original_sha256"?: string | null,"original_size"?: number | null,"owner_id"?: never,"prompt"?: string | null,"scan_tried_at"?: string | null,"search"?: unknown,"sha256"?: string,"size"?: number,"team_id"?: string | null,"user_id"?: string | null,"width"?: number
                  }
                  Relationships: [
                    {
      foreignKeyName: "images_current_output_id_fkey"
      columns: ["current_output_id"]
isOneToOne: false
      referencedRelation: "image_outputs"
      referencedColumns: ["id"]
    },{
      foreignKeyName: "images_team_id_fkey"
      columns: ["team_id"]
isOneToOne: false
      referencedRelation: "teams"
      referencedColumns: ["id"]
    }
                  ]
                },"input_documents": {
                  Row: {
                    "body": NonNullable<Json>,"created_at": string,"digest": string,"id": number,"kind": string,"used_at": string,"user_id": string | null
                  }
                  ComputedFields: never
                  Insert: {
                    "body": NonNullable<Json>,"created_at"?: string,"digest": string,"id"?: never,"kind": string,"used_at"?: string,"user_id"?: string | null
                  }
                  Update: {
                    "body"?: NonNullable<Json>,"created_at"?: string,"digest"?: string,"id"?: never,"kind"?: string,"used_at"?: string,"user_id"?: string | null
                  }
                  Relationships: [
                    
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
                    "address": string | null,"api_key_id": string | null,"attempt": number,"batch_id": string | null,"cache_key": string | null,"charged": number,"content_type": string | null,"counted_on": string | null,"created_at": string,"error": Json | null,"expires_at": string,"filename": string,"finished_at": string | null,"for_hits": boolean,"height": number,"held": boolean,"high_res": boolean,"id": string,"image_id": string | null,"keep_days": number | null,"lane_id": number | null,"lease_expires_at": string | null,"lease_token": string | null,"look_at": string | null,"max_attempts": number,"object_key": string,"op_key": string,"output_id": string | null,"owner_id": string | null,"price": number,"priority": number,"progress": number,"queue": string,"replay_of": string | null,"request_id": string | null,"run_at": string,"sha256": string,"size": number,"source_bucket": string,"started_at": string | null,"status": string,"step": string | null,"team_id": string | null,"upload_expires_at": string | null,"upload_path": string,"user_id": string | null,"variant": string,"vendor_cost_micros": number,"wants_persist": boolean,"width": number,"worker": string | null
                  }
                  ComputedFields: never
                  Insert: {
                    "address"?: string | null,"api_key_id"?: string | null,"attempt"?: number,"batch_id"?: string | null,"cache_key"?: string | null,"charged"?: number,"content_type"?: string | null,"counted_on"?: string | null,"created_at"?: string,"error"?: Json | null,"expires_at": string,"filename": string,"finished_at"?: string | null,"for_hits"?: boolean,"height": number,"held"?: boolean,"high_res"?: boolean,"id"?: string,"image_id"?: string | null,"keep_days"?: number | null,"lane_id"?: number | null,"lease_expires_at"?: string | null,"lease_token"?: string | null,"look_at"?: string | null,"max_attempts"?: number,"object_key"?: string,"op_key": string,"output_id"?: string | null,"owner_id"?: never,"price"?: number,"priority"?: number,"progress"?: number,"queue"?: string,"replay_of"?: string | null,"request_id"?: string | null,"run_at"?: string,"sha256": string,"size": number,"source_bucket"?: string,"started_at"?: string | null,"status"?: string,"step"?: string | null,"team_id"?: string | null,"upload_expires_at"?: string | null,"upload_path": string,"user_id"?: string | null,"variant"?: string,"vendor_cost_micros"?: number,"wants_persist"?: boolean,"width": number,"worker"?: string | null
                  }
                  Update: {
                    "address"?: string | null,"api_key_id"?: string | null,"attempt"?: number,"batch_id"?: string | null,"cache_key"?: string | null,"charged"?: number,"content_type"?: string | null,"counted_on"?: string | null,"created_at"?: string,"error"?: Json | null,"expires_at"?: string,"filename"?: string,"finished_at"?: string | null,"for_hits"?: boolean,"height"?: number,"held"?: boolean,"high_res"?: boolean,"id"?: string,"image_id"?: string | null,"keep_days"?: number | null,"lane_id"?: number | null,"lease_expires_at"?: string | null,"lease_token"?: string | null,"look_at"?: string | null,"max_attempts"?: number,"object_key"?: string,"op_key"?: string,"output_id"?: string | null,"owner_id"?: never,"price"?: number,"priority"?: number,"progress"?: number,"queue"?: string,"replay_of"?: string | null,"request_id"?: string | null,"run_at"?: string,"sha256"?: string,"size"?: number,"source_bucket"?: string,"started_at"?: string | null,"status"?: string,"step"?: string | null,"team_id"?: string | null,"upload_expires_at"?: string | null,"upload_path"?: string,"user_id"?: string | null,"variant"?: string,"vendor_cost_micros"?: number,"wants_persist"?: boolean,"width"?: number,"worker"?: string | null
                  }
                  Relationships: [
                    {
      foreignKeyName: "jobs_api_key_id_fkey"
      columns: ["api_key_id"]
isOneToOne: false
      referencedRelation: "api_keys"
      referencedColumns: ["id"]
    },{
      foreignKeyName: "jobs_lane_id_fkey"
      columns: ["lane_id"]
isOneToOne: false
      referencedRelation: "lanes"
      referencedColumns: ["id"]
    },{
      foreignKeyName: "jobs_replay_of_fkey"
      columns: ["replay_of"]
isOneToOne: false
      referencedRelation: "jobs"
      referencedColumns: ["id"]
    },{
      foreignKeyName: "jobs_team_id_fkey"
      columns: ["team_id"]
isOneToOne: false
      referencedRelation: "teams"
      referencedColumns: ["id"]
    }
                  ]
                },"lanes": {
                  Row: {
                    "due_at": string | null,"id": number,"network": string | null,"paused_at": string | null,"plan_id": string,"queue": string,"running": number,"state": string,"team_id": string | null,"turn": number,"used_at": string,"user_id": string | null,"vtime": number,"waiting": number,"weight": number,"who": string
                  }
                  ComputedFields: never
                  Insert: {
                    "due_at"?: string | null,"id"?: never,"network"?: string | null,"paused_at"?: string | null,"plan_id": string,"queue": string,"running"?: number,"state"?: string,"team_id"?: string | null,"turn"?: number,"used_at"?: string,"user_id"?: string | null,"vtime"?: number,"waiting"?: number,"weight"?: number,"who": string
                  }
                  Update: {
                    "due_at"?: string | null,"id"?: never,"network"?: string | null,"paused_at"?: string | null,"plan_id"?: string,"queue"?: string,"running"?: number,"state"?: string,"team_id"?: string | null,"turn"?: number,"used_at"?: string,"user_id"?: string | null,"vtime"?: number,"waiting"?: number,"weight"?: number,"who"?: string
                  }
                  Relationships: [
                    {
      foreignKeyName: "lanes_plan_id_fkey"
      columns: ["plan_id"]
isOneToOne: false
      referencedRelation: "plans"
      referencedColumns: ["id"]
    }
                  ]
                },"moderation_reviews": {
                  Row: {
                    "created_at": string,"decision": string,"job_id": string,"reason": string
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"decision": string,"job_id": string,"reason": string
                  }
                  Update: {
                    "created_at"?: string,"decision"?: string,"job_id"?: string,"reason"?: string
                  }
                  Relationships: [
                    {
      foreignKeyName: "moderation_reviews_job_id_fkey"
      columns: ["job_id"]
isOneToOne: true
      referencedRelation: "jobs"
      referencedColumns: ["id"]
    }
                  ]
                },"op_costs": {
                  Row: {
                    "cost": number,"op": string
                  }
                  ComputedFields: never
                  Insert: {
                    "cost": number,"op": string
                  }
                  Update: {
                    "cost"?: number,"op"?: string
                  }
                  Relationships: [
                    
                  ]
                },"op_prices": {
                  Row: {
                    "hit_price": number,"op": string,"price": number,"updated_at": string
                  }
                  ComputedFields: never
                  Insert: {
                    "hit_price"?: number,"op": string,"price": number,"updated_at"?: string
                  }
                  Update: {
                    "hit_price"?: number,"op"?: string,"price"?: number,"updated_at"?: string
                  }
                  Relationships: [
                    
                  ]
                },"plans": {
                  Row: {
                    "api_access": boolean,"bulk": boolean,"campaigns": boolean,"created_at": string,"currency": string,"description": string,"failures_per_day": number | null,"features": (string)[],"generations_per_day": number | null,"generations_per_month": number | null,"high_res_exports_per_month": number | null,"id": string,"keep_days": number,"max_pending": number,"max_pixels": number | null,"max_running": number,"monthly_credits": number,"name": string,"persistent": boolean,"price_cents": number | null,"priority": number,"promote_price": number,"public": boolean,"rank": number,"seats": number,"signup_credits": number,"storage_bytes": number | null,"stripe_price_id": string | null,"stripe_product_id": string | null,"updated_at": string,"versions": number,"watermark": boolean,"weight": number,"working_side": number
                  }
                  ComputedFields: never
                  Insert: {
                    "api_access"?: boolean,"bulk"?: boolean,"campaigns"?: boolean,"created_at"?: string,"currency"?: string,"description"?: string,"failures_per_day"?: number | null,"features"?: (string)[],"generations_per_day"?: number | null,"generations_per_month"?: number | null,"high_res_exports_per_month"?: number | null,"id": string,"keep_days"?: number,"max_pending": number,"max_pixels"?: number | null,"max_running": number,"monthly_credits"?: number,"name": string,"persistent"?: boolean,"price_cents"?: number | null,"priority"?: number,"promote_price"?: number,"public"?: boolean,"rank"?: number,"seats"?: number,"signup_credits"?: number,"storage_bytes"?: number | null,"stripe_price_id"?: string | null,"stripe_product_id"?: string | null,"updated_at"?: string,"versions"?: number,"watermark"?: boolean,"weight"?: number,"working_side"?: number
                  }
                  Update: {
                    "api_access"?: boolean,"bulk"?: boolean,"campaigns"?: boolean,"created_at"?: string,"currency"?: string,"description"?: string,"failures_per_day"?: number | null,"features"?: (string)[],"generations_per_day"?: number | null,"generations_per_month"?: number | null,"high_res_exports_per_month"?: number | null,"id"?: string,"keep_days"?: number,"max_pending"?: number,"max_pixels"?: number | null,"max_running"?: number,"monthly_credits"?: number,"name"?: string,"persistent"?: boolean,"price_cents"?: number | null,"priority"?: number,"promote_price"?: number,"public"?: boolean,"rank"?: number,"seats"?: number,"signup_credits"?: number,"storage_bytes"?: number | null,"stripe_price_id"?: string | null,"stripe_product_id"?: string | null,"updated_at"?: string,"versions"?: number,"watermark"?: boolean,"weight"?: number,"working_side"?: number
                  }
                  Relationships: [
                    
                  ]
                },"profiles": {
                  Row: {
                    "archive_after_days": number | null,"banned_until": string | null,"closed_at": string | null,"created_at": string,"flag_reason": string | null,"flagged_at": string | null,"keep_full_res": boolean,"keep_original": boolean,"over_quota_since": string | null,"plan_id": string,"signup_credited_at": string | null,"suspend_reason": string | null,"suspended_at": string | null,"updated_at": string,"user_id": string,"versions_due": boolean,"versions_to_keep": number
                  }
                  ComputedFields: never
                  Insert: {
                    "archive_after_days"?: number | null,"banned_until"?: string | null,"closed_at"?: string | null,"created_at"?: string,"flag_reason"?: string | null,"flagged_at"?: string | null,"keep_full_res"?: boolean,"keep_original"?: boolean,"over_quota_since"?: string | null,"plan_id"?: string,"signup_credited_at"?: string | null,"suspend_reason"?: string | null,"suspended_at"?: string | null,"updated_at"?: string,"user_id": string,"versions_due"?: boolean,"versions_to_keep"?: number
                  }
                  Update: {
                    "archive_after_days"?: number | null,"banned_until"?: string | null,"closed_at"?: string | null,"created_at"?: string,"flag_reason"?: string | null,"flagged_at"?: string | null,"keep_full_res"?: boolean,"keep_original"?: boolean,"over_quota_since"?: string | null,"plan_id"?: string,"signup_credited_at"?: string | null,"suspend_reason"?: string | null,"suspended_at"?: string | null,"updated_at"?: string,"user_id"?: string,"versions_due"?: boolean,"versions_to_keep"?: number
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
                },"queue_counts": {
                  Row: {
                    "backend": number,"finished": number,"finished_before": number,"minute": string,"plan_id": string,"queue": string,"running": number,"vtime": number,"waiting": number,"weight": number
                  }
                  ComputedFields: never
                  Insert: {
                    "backend": number,"finished"?: number,"finished_before"?: number,"minute"?: string,"plan_id": string,"queue": string,"running"?: number,"vtime"?: number,"waiting"?: number,"weight"?: number
                  }
                  Update: {
                    "backend"?: number,"finished"?: number,"finished_before"?: number,"minute"?: string,"plan_id"?: string,"queue"?: string,"running"?: number,"vtime"?: number,"waiting"?: number,"weight"?: number
                  }
                  Relationships: [
                    
                  ]
                },"queues": {
                  Row: {
                    "paused_at": string,"queue": string
                  }
                  ComputedFields: never
                  Insert: {
                    "paused_at"?: string,"queue": string
                  }
                  Update: {
                    "paused_at"?: string,"queue"?: string
                  }
                  Relationships: [
                    
                  ]
                },"share_links": {
                  Row: {
                    "created_at": string,"expires_at": string,"has_password": boolean,"id": string,"last_viewed_at": string | null,"max_views": number | null,"output_id": string | null,"revoked_at": string | null,"team_id": string | null,"user_id": string,"views": number
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"expires_at": string,"has_password": boolean,"id"?: string,"last_viewed_at"?: string | null,"max_views"?: number | null,"output_id"?: string | null,"revoked_at"?: string | null,"team_id"?: string | null,"user_id": string,"views"?: number
                  }
                  Update: {
                    "created_at"?: string,"expires_at"?: string,"has_password"?: boolean,"id"?: string,"last_viewed_at"?: string | null,"max_views"?: number | null,"output_id"?: string | null,"revoked_at"?: string | null,"team_id"?: string | null,"user_id"?: string,"views"?: number
                  }
                  Relationships: [
                    {
      foreignKeyName: "share_links_output_id_fkey"
      columns: ["output_id"]
isOneToOne: false
      referencedRelation: "image_outputs"
      referencedColumns: ["id"]
    },{
      foreignKeyName: "share_links_team_id_fkey"
      columns: ["team_id"]
isOneToOne: false
      referencedRelation: "teams"
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
                },"signup_addresses": {
                  Row: {
                    "created_at": string,"digest": string
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"digest": string
                  }
                  Update: {
                    "created_at"?: string,"digest"?: string
                  }
                  Relationships: [
                    
                  ]
                },"signup_secret": {
                  Row: {
                    "id": boolean,"secret": string
                  }
                  ComputedFields: never
                  Insert: {
                    "id"?: boolean,"secret": string
                  }
                  Update: {
                    "id"?: boolean,"secret"?: string
                  }
                  Relationships: [
                    
                  ]
                },"storage_changes": {
                  Row: {
                    "bytes": number,"id": number,"owner_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "bytes": number,"id"?: never,"owner_id": string
                  }
                  Update: {
                    "bytes"?: number,"id"?: never,"owner_id"?: string
                  }
                  Relationships: [
                    
                  ]
                },"storage_usage": {
                  Row: {
                    "bytes": number,"owner_id": string,"updated_at": string
                  }
                  ComputedFields: never
                  Insert: {
                    "bytes": number,"owner_id": string,"updated_at"?: string
                  }
                  Update: {
                    "bytes"?: number,"owner_id"?: string,"updated_at"?: string
                  }
                  Relationships: [
                    
                  ]
                },"stripe_closures": {
                  Row: {
                    "attempts": number,"created_at": string,"customer_id": string,"error": string | null,"run_at": string
                  }
                  ComputedFields: never
                  Insert: {
                    "attempts"?: number,"created_at"?: string,"customer_id": string,"error"?: string | null,"run_at"?: string
                  }
                  Update: {
                    "attempts"?: number,"created_at"?: string,"customer_id"?: string,"error"?: string | null,"run_at"?: string
                  }
                  Relationships: [
                    
                  ]
                },"stripe_customers": {
                  Row: {
                    "created_at": string,"customer_id": string,"gone_at": string | null,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"customer_id": string,"gone_at"?: string | null,"user_id": string
                  }
                  Update: {
                    "created_at"?: string,"customer_id"?: string,"gone_at"?: string | null,"user_id"?: string
                  }
                  Relationships: [
                    
                  ]
                },"stripe_events": {
                  Row: {
                    "attempts": number,"error": string | null,"handled_at": string | null,"id": string,"lease": number | null,"object_id": string,"object_type": string,"occurred_at": string,"outcome": string | null,"received_at": string,"run_at": string,"status": string,"type": string
                  }
                  ComputedFields: never
                  Insert: {
                    "attempts"?: number,"error"?: string | null,"handled_at"?: string | null,"id": string,"lease"?: number | null,"object_id": string,"object_type": string,"occurred_at": string,"outcome"?: string | null,"received_at"?: string,"run_at"?: string,"status"?: string,"type": string
                  }
                  Update: {
                    "attempts"?: number,"error"?: string | null,"handled_at"?: string | null,"id"?: string,"lease"?: number | null,"object_id"?: string,"object_type"?: string,"occurred_at"?: string,"outcome"?: string | null,"received_at"?: string,"run_at"?: string,"status"?: string,"type"?: string
                  }
                  Relationships: [
                    
                  ]
                },"stripe_prices": {
                  Row: {
                    "active": boolean,"amount": number,"created_at": string,"currency": string,"pack_id": string | null,"plan_id": string | null,"price_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "active"?: boolean,"amount": number,"created_at"?: string,"currency": string,"pack_id"?: string | null,"plan_id"?: string | null,"price_id": string
                  }
                  Update: {
                    "active"?: boolean,"amount"?: number,"created_at"?: string,"currency"?: string,"pack_id"?: string | null,"plan_id"?: string | null,"price_id"?: string
                  }
                  Relationships: [
                    {
      foreignKeyName: "stripe_prices_pack_id_fkey"
      columns: ["pack_id"]
isOneToOne: false
      referencedRelation: "credit_packs"
      referencedColumns: ["id"]
    },{
      foreignKeyName: "stripe_prices_plan_id_fkey"
      columns: ["plan_id"]
isOneToOne: false
      referencedRelation: "plans"
      referencedColumns: ["id"]
    }
                  ]
                },"stripe_reversals": {
                  Row: {
                    "amount": number,"created_at": string,"credits": number,"id": string,"kind": string,"lapsed": number,"reference": string,"returned_at": string | null,"source": string,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "amount": number,"created_at": string,"credits": number,"id": string,"kind": string,"lapsed"?: number,"reference": string,"returned_at"?: string | null,"source": string,"user_id": string
                  }
                  Update: {
                    "amount"?: number,"created_at"?: string,"credits"?: number,"id"?: string,"kind"?: string,"lapsed"?: number,"reference"?: string,"returned_at"?: string | null,"source"?: string,"user_id"?: string
                  }
                  Relationships: [
                    
                  ]
                },"subscriptions": {
                  Row: {
                    "cancel_at_period_end": boolean,"created_at": string,"current_period_end": string,"current_period_start": string,"customer_id": string,"ended_at": string | null,"entitled": boolean,"grace_until": string | null,"id": string,"plan_id": string,"price_id": string,"status": string,"ticket": number,"updated_at": string,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "cancel_at_period_end"?: boolean,"created_at": string,"current_period_end": string,"current_period_start": string,"customer_id": string,"ended_at"?: string | null,"entitled": boolean,"grace_until"?: string | null,"id": string,"plan_id": string,"price_id": string,"status": string,"ticket": number,"updated_at"?: string,"user_id": string
                  }
                  Update: {
                    "cancel_at_period_end"?: boolean,"created_at"?: string,"current_period_end"?: string,"current_period_start"?: string,"customer_id"?: string,"ended_at"?: string | null,"entitled"?: boolean,"grace_until"?: string | null,"id"?: string,"plan_id"?: string,"price_id"?: string,"status"?: string,"ticket"?: number,"updated_at"?: string,"user_id"?: string
                  }
                  Relationships: [
                    {
      foreignKeyName: "subscriptions_plan_id_fkey"
      columns: ["plan_id"]
isOneToOne: false
      referencedRelation: "plans"
      referencedColumns: ["id"]
    }
                  ]
                },"task_leases": {
                  Row: {
                    "expires_at": string,"task": string,"token": string
                  }
                  ComputedFields: never
                  Insert: {
                    "expires_at": string,"task": string,"token": string
                  }
                  Update: {
                    "expires_at"?: string,"task"?: string,"token"?: string
                  }
                  Relationships: [
                    
                  ]
                },"team_invitations": {
                  Row: {
                    "accepted_at": string | null,"created_at": string,"declined_at": string | null,"email": string,"expires_at": string,"id": string,"revoked_at": string | null,"role": string,"team_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "accepted_at"?: string | null,"created_at"?: string,"declined_at"?: string | null,"email": string,"expires_at": string,"id"?: string,"revoked_at"?: string | null,"role": string,"team_id": string
                  }
                  Update: {
                    "accepted_at"?: string | null,"created_at"?: string,"declined_at"?: string | null,"email"?: string,"expires_at"?: string,"id"?: string,"revoked_at"?: string | null,"role"?: string,"team_id"?: string
                  }
                  Relationships: [
                    {
      foreignKeyName: "team_invitations_team_id_fkey"
      columns: ["team_id"]
isOneToOne: false
      referencedRelation: "teams"
      referencedColumns: ["id"]
    }
                  ]
                },"team_members": {
                  Row: {
                    "created_at": string,"role": string,"team_id": string,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"role": string,"team_id": string,"user_id": string
                  }
                  Update: {
                    "created_at"?: string,"role"?: string,"team_id"?: string,"user_id"?: string
                  }
                  Relationships: [
                    {
      foreignKeyName: "team_members_team_id_fkey"
      columns: ["team_id"]
isOneToOne: false
      referencedRelation: "teams"
      referencedColumns: ["id"]
    }
                  ]
                },"teams": {
                  Row: {
                    "created_at": string,"id": string,"name": string,"updated_at": string,"versions_due": boolean,"versions_to_keep": number
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"id"?: string,"name": string,"updated_at"?: string,"versions_due"?: boolean,"versions_to_keep"?: number
                  }
                  Update: {
                    "created_at"?: string,"id"?: string,"name"?: string,"updated_at"?: string,"versions_due"?: boolean,"versions_to_keep"?: number
                  }
                  Relationships: [
                    
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
                },"usage_daily": {
                  Row: {
                    "bytes_served": number,"bytes_stored": number,"cache_hits": number,"credits": number,"day": string,"failures": number,"generations": number,"high_res_exports": number,"jobs": number,"saved_credits": number,"saved_vendor_cost_micros": number,"user_id": string,"vendor_cost_micros": number
                  }
                  ComputedFields: never
                  Insert: {
                    "bytes_served"?: number,"bytes_stored"?: number,"cache_hits"?: number,"credits"?: number,"day": string,"failures"?: number,"generations"?: number,"high_res_exports"?: number,"jobs"?: number,"saved_credits"?: number,"saved_vendor_cost_micros"?: number,"user_id": string,"vendor_cost_micros"?: number
                  }
                  Update: {
                    "bytes_served"?: number,"bytes_stored"?: number,"cache_hits"?: number,"credits"?: number,"day"?: string,"failures"?: number,"generations"?: number,"high_res_exports"?: number,"jobs"?: number,"saved_credits"?: number,"saved_vendor_cost_micros"?: number,"user_id"?: string,"vendor_cost_micros"?: number
                  }
                  Relationships: [
                    
                  ]
                },"usage_folds": {
                  Row: {
                    "created_at": string,"id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"id": string
                  }
                  Update: {
                    "created_at"?: string,"id"?: string
                  }
                  Relationships: [
                    
                  ]
                },"write_probe": {
                  Row: {
                    "id": boolean,"written_at": string
                  }
                  ComputedFields: never
                  Insert: {
                    "id"?: boolean,"written_at": string
                  }
                  Update: {
                    "id"?: boolean,"written_at"?: string
                  }
                  Relationships: [
                    
                  ]
                }
          }
          Views: {
            "abuse_signals": {
                  Row: {
                    "accounts": number | null,"burst": number | null,"jobs": number | null,"refusal_ratio": number | null,"refused": number | null,"signals": (string)[] | null,"user_id": string | null
                  }
                  ComputedFields: never
                  Relationships: [
                    
                  ]
                }
          }
          Functions: {
            "account_state":
{ Args: { "p_user_id": string }; Returns: Json
                           },
"admin_abuse":
{ Args: { "p_limit": number }; Returns: Json
                           },
"admin_audit":
{ Args: { "p_action": string,"p_actor": string,"p_before": number,"p_limit": number,"p_subject": string }; Returns: Json
                           },
"admin_cancel_job":
{ Args: { "p_actor": string,"p_by": string,"p_job_id": string,"p_reason": string }; Returns: Json
                           },
"admin_credits":
{ Args: { "p_actor": string,"p_amount": number,"p_by": string,"p_expires_at": string,"p_reason": string,"p_reference": string,"p_user_id": string }; Returns: Json
                           },
"admin_flag":
{ Args: { "p_actor": string,"p_by": string,"p_flagged": boolean,"p_reason": string,"p_user_id": string }; Returns: Json
                           },
"admin_job":
{ Args: { "p_job_id": string }; Returns: Json
                           },
"admin_jobs":
{ Args: { "p_after": string,"p_after_id": string,"p_created_after": string,"p_created_before": string,"p_error": string,"p_limit": number,"p_op": string,"p_status": string,"p_user": string }; Returns: Json
                           },
"admin_lanes":
{ Args: { "p_limit": number }; Returns: Json
                           },
"admin_pause_lane":
{ Args: { "p_actor": string,"p_by": string,"p_lane_id": number,"p_paused": boolean,"p_reason": string }; Returns: Json
                           },
"admin_pause_queue":
{ Args: { "p_actor": string,"p_by": string,"p_paused": boolean,"p_queue": string,"p_reason": string }; Returns: Json
                           },
"admin_refund_job":
{ Args: { "p_actor": string,"p_by": string,"p_job_id": string,"p_reason": string }; Returns: boolean
                           },
"admin_role":
{ Args: { "p_user_id": string }; Returns: string
                           },
"admin_set_plan":
{ Args: { "p_actor": string,"p_by": string,"p_plan_id": string,"p_reason": string,"p_user_id": string }; Returns: Json
                           },
"admin_suspend":
{ Args: { "p_actor": string,"p_by": string,"p_reason": string,"p_suspended": boolean,"p_user_id": string }; Returns: Json
                           },
"admin_user":
{ Args: { "p_who": string }; Returns: Json
                           },
"admin_users":
{ Args: { "p_after": string,"p_after_id": string,"p_flagged": boolean,"p_limit": number,"p_plan": string,"p_query": string,"p_suspended"?: boolean }; Returns: Json
                           },
"adopt_output":
{ Args: { "p_api_key_id"?: string,"p_filename": string,"p_hit_price"?: number,"p_job_id": string,"p_object_key"?: string,"p_output_seconds": number,"p_path": string,"p_price"?: number,"p_request_id": string,"p_source_id": string,"p_team_id"?: string,"p_thumb_path": string,"p_user_id": string }; Returns: Json
                           },
"answer_invitation":
{ Args: { "p_accept": boolean,"p_invitation_id": string,"p_user_id": string }; Returns: Json
                           },
"approve_picture":
{ Args: { "p_actor": string,"p_by": string,"p_id": string,"p_kind": string,"p_reason": string }; Returns: Json
                           },
"archive_due":
{ Args: { "p_limit": number }; Returns: number
                           },
"block_hash":
{ Args: { "p_actor"?: string,"p_by": string,"p_category": string,"p_reason": string,"p_sha256": string }; Returns: Json
                           },
"blocked_category":
{ Args: { "p_sha256s": (string)[] }; Returns: string
                           },
"bury_missing":
{ Args: { "p_limit": number }; Returns: Json
                           },
"bury_output":
{ Args: { "p_output_id": string,"p_reason": string }; Returns: Json
                           },
"cache_key":
{ Args: { "p_op_key": string,"p_sha256": string,"p_variant": string }; Returns: string
                           },
"cached_output":
{ Args: { "p_job_id": string,"p_lease_token": string,"p_output_seconds": number,"p_verified"?: boolean }; Returns: Json
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
"claim_jobs":
{ Args: { "p_claims": string,"p_output_seconds": number,"p_user_id": string }; Returns: Json
                           },
"claim_next":
{ Args: { "p_lease_seconds": number,"p_queue": string,"p_worker": string }; Returns: Json
                           },
"claim_request":
{ Args: { "p_lease_seconds": number,"p_queue": string,"p_worker": string }; Returns: Json
                           },
"claim_stripe_closure":
{ Args: Record<PropertyKey, never>; Returns: Json
                           },
"claim_stripe_event":
{ Args: { "p_event_id": string,"p_lease_seconds": number }; Returns: Json
                           },
"claw_back":
{ Args: { "p_actor"?: string,"p_amount": number,"p_reason": string,"p_reference": string,"p_source": string,"p_user_id": string }; Returns: Json
                           },
"close_account":
{ Args: { "p_lease_token": string,"p_request_id": string }; Returns: string
                           },
"complete_from_cache":
{ Args: { "p_job_id": string,"p_lease_token": string,"p_output_id": string,"p_output_seconds"?: number }; Returns: Json
                           },
"complete_job":
{ Args: { "p_job_id": string,"p_lease_token": string,"p_output": string,"p_output_seconds": number,"p_vendor_cost_micros"?: number }; Returns: Json
                           },
"confirm_purged":
{ Args: { "p_ids": (number)[] }; Returns: number
                           },
"create_api_key":
{ Args: { "p_expires_at": string,"p_hash": string,"p_name": string,"p_prefix": string,"p_rate_per_minute": number,"p_scopes": (string)[],"p_spend_cap": number,"p_user_id": string }; Returns: Json
                           },
"create_collection":
{ Args: { "p_name": string,"p_parent_id": string,"p_team_id"?: string,"p_user_id": string }; Returns: Json
                           },
"create_invitation":
{ Args: { "p_email": string,"p_role": string,"p_team_id": string,"p_user_id": string }; Returns: Json
                           },
"create_share":
{ Args: { "p_max_views": number,"p_output_id": string,"p_password_hash": string,"p_seconds": number,"p_token_hash": string,"p_user_id": string }; Returns: Json
                           },
"create_team":
{ Args: { "p_name": string,"p_user_id": string }; Returns: Json
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
"delete_team":
{ Args: { "p_name": string,"p_team_id": string,"p_user_id": string }; Returns: Json
                           },
"draw_stripe_ticket":
{ Args: Record<PropertyKey, never>; Returns: number
                           },
"due_looks":
{ Args: { "p_limit": number,"p_policy": string }; Returns: Json
                           },
"due_originals":
{ Args: { "p_limit": number }; Returns: Json
                           },
"due_scans":
{ Args: { "p_limit": number }; Returns: Json
                           },
"due_tombstones":
{ Args: { "p_limit": number }; Returns: Json
                           },
"end_blocked_jobs":
{ Args: { "p_user_id"?: string }; Returns: Json
                           },
"end_stripe_closure":
{ Args: { "p_customer_id": string,"p_error": string }; Returns: undefined
                           },
"end_subscriptions":
{ Args: { "p_limit": number }; Returns: number
                           },
"entomb_orphans":
{ Args: { "p_limit": number,"p_older_than": string }; Returns: number
                           },
"expire_due":
{ Args: { "p_limit": number }; Returns: Json
                           },
"expire_grants":
{ Args: { "p_limit": number }; Returns: Json
                           },
"expire_inputs":
{ Args: { "p_limit": number }; Returns: number
                           },
"expire_requests":
{ Args: { "p_limit": number }; Returns: number
                           },
"expire_usage":
{ Args: Record<PropertyKey, never>; Returns: undefined
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
"fail_stripe_event":
{ Args: { "p_error": string,"p_event_id": string,"p_max_attempts": number,"p_retry_seconds": number,"p_ticket": number }; Returns: string
                           },
"find_api_key":
{ Args: { "p_prefix": string }; Returns: Json
                           },
"find_claimable":
{ Args: { "p_job_ids": (string)[],"p_user_id": string }; Returns: Json
                           },
"find_offer":
{ Args: { "p_pack_id": string,"p_plan_id": string }; Returns: Json
                           },
"find_promotable":
{ Args: { "p_job_id": string,"p_output_id": string,"p_team_id"?: string,"p_user_id": string }; Returns: Json
                           },
"find_share":
{ Args: { "p_token_hash": string }; Returns: Json
                           },
"find_stripe_customer":
{ Args: { "p_user_id": string }; Returns: Json
                           },
"find_stripe_prices":
{ Args: { "p_price_ids": (string)[] }; Returns: Json
                           },
"finish_deletion":
{ Args: { "p_account": string,"p_lease_token": string,"p_receipt_seconds": number,"p_request_id": string }; Returns: Json
                           },
"finish_export":
{ Args: { "p_keep_seconds": number,"p_lease_token": string,"p_path": string,"p_receipt": string,"p_request_id": string,"p_size": number }; Returns: Json
                           },
"finish_stripe_event":
{ Args: { "p_event_id": string,"p_outcome": string,"p_ticket": number }; Returns: boolean
                           },
"flag_account":
{ Args: { "p_actor"?: string,"p_reason": string,"p_user_id": string }; Returns: undefined
                           },
"fold_usage":
{ Args: { "p_batch": string,"p_counts": string }; Returns: boolean
                           },
"get_credits":
{ Args: { "p_user_id": string }; Returns: Json
                           },
"get_image":
{ Args: { "p_image_id": string,"p_user_id": string }; Returns: Json
                           },
"get_image_source":
{ Args: { "p_image_id": string,"p_user_id": string }; Returns: Json
                           },
"get_inputs":
{ Args: { "p_digests": (string)[],"p_user_id": string }; Returns: Json
                           },
"get_job":
{ Args: { "p_job_id": string,"p_user_id": string }; Returns: Json
                           },
"get_job_events":
{ Args: { "p_after": number,"p_job_id": string,"p_user_id": string }; Returns: Json
                           },
"get_output":
{ Args: { "p_output_id": string,"p_user_id": string }; Returns: Json
                           },
"get_profile":
{ Args: { "p_user_id": string }; Returns: Json
                           },
"get_quote_facts":
{ Args: { "p_cache_key": string,"p_height"?: number,"p_op_key": string,"p_queue": string,"p_size"?: number,"p_user_id": string,"p_width"?: number }; Returns: Json
                           },
"get_request":
{ Args: { "p_request_id": string,"p_user_id": string }; Returns: Json
                           },
"get_subscription":
{ Args: { "p_user_id": string }; Returns: Json
                           },
"get_team":
{ Args: { "p_team_id": string,"p_user_id": string }; Returns: Json
                           },
"get_team_profile":
{ Args: { "p_team_id": string,"p_user_id": string }; Returns: Json
                           },
"get_usage":
{ Args: { "p_from": string,"p_to": string,"p_user_id": string }; Returns: Json
                           },
"grant_admin":
{ Args: { "p_by": string,"p_reason": string,"p_role": string,"p_who": string }; Returns: Json
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
"intake":
{ Args: { "p_api_key_id"?: string,"p_await_seconds": number,"p_cacheable": boolean,"p_content_type": string,"p_filename": string,"p_height": number,"p_hit_price"?: number,"p_hit_reference"?: string,"p_ip"?: string,"p_keep_days"?: number,"p_may_queue"?: boolean,"p_may_upload"?: boolean,"p_op_key": string,"p_output_seconds": number,"p_output_side"?: number,"p_price": number,"p_queue": string,"p_request_id": string,"p_sha256": string,"p_size": number,"p_team_id"?: string,"p_upload_seconds": number,"p_use_cache": boolean,"p_user_id": string,"p_variant": string,"p_wants_persist": boolean,"p_width": number }; Returns: Json
                           },
"intake_batch":
{ Args: { "p_claim": string,"p_items": string,"p_user_id": string }; Returns: Json
                           },
"judge_again":
{ Args: { "p_limit": number,"p_policy": string }; Returns: Json
                           },
"keep_input":
{ Args: { "p_body": string,"p_digest": string,"p_kind": string,"p_user_id": string }; Returns: Json
                           },
"keep_output":
{ Args: { "p_days": number,"p_output_id": string,"p_user_id": string }; Returns: Json
                           },
"keep_stripe_customer":
{ Args: { "p_customer_id": string,"p_user_id": string }; Returns: string
                           },
"lease_task":
{ Args: { "p_seconds": number,"p_task": string,"p_token": string }; Returns: boolean
                           },
"list_admins":
{ Args: Record<PropertyKey, never>; Returns: Json
                           },
"list_api_keys":
{ Args: { "p_user_id": string }; Returns: Json
                           },
"list_blocked":
{ Args: { "p_after": string,"p_after_sha256": string,"p_category": string,"p_limit": number,"p_sha256": string }; Returns: Json
                           },
"list_collections":
{ Args: { "p_team_id": string,"p_user_id": string }; Returns: Json
                           },
"list_images":
{ Args: { "p_after": string,"p_after_id": string,"p_archived": boolean,"p_collection_id": string,"p_created_after": string,"p_created_before": string,"p_limit": number,"p_op": string,"p_query": string,"p_team_id"?: string,"p_user_id": string }; Returns: Json
                           },
"list_invitations":
{ Args: { "p_team_id": string,"p_user_id": string }; Returns: Json
                           },
"list_my_invitations":
{ Args: { "p_user_id": string }; Returns: Json
                           },
"list_op_prices":
{ Args: Record<PropertyKey, never>; Returns: Json
                           },
"list_packs":
{ Args: Record<PropertyKey, never>; Returns: Json
                           },
"list_plans":
{ Args: Record<PropertyKey, never>; Returns: Json
                           },
"list_shares":
{ Args: { "p_output_id": string,"p_user_id": string }; Returns: Json
                           },
"list_teams":
{ Args: { "p_user_id": string }; Returns: Json
                           },
"lose_original":
{ Args: { "p_image_id": string,"p_path": string }; Returns: boolean
                           },
"lose_stripe_customer":
{ Args: { "p_customer_id": string }; Returns: boolean
                           },
"mark_scanned":
{ Args: { "p_output_id": string,"p_scan": string }; Returns: undefined
                           },
"mark_uploaded":
{ Args: { "p_job_id": string,"p_user_id": string }; Returns: Json
                           },
"may_share":
{ Args: { "p_output_id": string,"p_user_id": string }; Returns: boolean
                           },
"move_images":
{ Args: { "p_image_ids": (string)[],"p_out": boolean,"p_team_id": string,"p_user_id": string }; Returns: Json
                           },
"next_byte_checks":
{ Args: { "p_limit": number }; Returns: Json
                           },
"open_share":
{ Args: { "p_share_id": string }; Returns: undefined
                           },
"open_subscriptions":
{ Args: { "p_after": string,"p_limit": number }; Returns: Json
                           },
"personal_tables":
{ Args: Record<PropertyKey, never>; Returns: {
              "hidden": (string)[],"name": string,"owner": string,"page_key": string,"treatment": string
            }[]
                           },
"picture_in_review":
{ Args: { "p_id": string,"p_kind": string }; Returns: string
                           },
"pictures_in_review":
{ Args: { "p_after": string,"p_after_id": string,"p_limit": number }; Returns: Json
                           },
"probe_write":
{ Args: Record<PropertyKey, never>; Returns: string
                           },
"promote_output":
{ Args: { "p_api_key_id"?: string,"p_charge": boolean,"p_output_id": string,"p_path": string,"p_thumb_path": string,"p_user_id": string }; Returns: Json
                           },
"prune_versions":
{ Args: { "p_limit": number }; Returns: Json
                           },
"purge_shares":
{ Args: { "p_limit": number }; Returns: number
                           },
"purge_stripe_events":
{ Args: { "p_keep_days": number,"p_limit": number }; Returns: number
                           },
"queue_load":
{ Args: { "p_queue": string }; Returns: Json
                           },
"queue_position":
{ Args: { "p_job_id": string }; Returns: number
                           },
"queue_stats":
{ Args: Record<PropertyKey, never>; Returns: Json
                           },
"receive_stripe_events":
{ Args: { "p_events": string }; Returns: Json
                           },
"recently_buried":
{ Args: Record<PropertyKey, never>; Returns: Json
                           },
"recently_changed":
{ Args: { "p_seconds": number }; Returns: Json
                           },
"record_look":
{ Args: { "p_id": string,"p_kind": string,"p_path": string,"p_policy": string,"p_score": number }; Returns: Json
                           },
"record_original":
{ Args: { "p_image_id": string,"p_moderation"?: string,"p_moderation_policy"?: string,"p_moderation_score"?: number,"p_path": string,"p_scan"?: string,"p_sha256"?: string,"p_size"?: number }; Returns: boolean
                           },
"record_scan":
{ Args: { "p_id": string,"p_kind": string,"p_path": string,"p_scan": string,"p_signature": string }; Returns: undefined
                           },
"record_stripe_price":
{ Args: { "p_amount": number,"p_currency": string,"p_id": string,"p_kind": string,"p_price_id": string,"p_product_id": string }; Returns: undefined
                           },
"record_subscription":
{ Args: { "p_grace_seconds": number,"p_subscription": string,"p_ticket": number }; Returns: Json
                           },
"refund_hit":
{ Args: { "p_api_key_id"?: string,"p_reference": string,"p_user_id": string }; Returns: undefined
                           },
"refund_job":
{ Args: { "p_actor"?: string,"p_job_id": string,"p_reason": string }; Returns: boolean
                           },
"refused_jobs":
{ Args: { "p_after": string,"p_after_id": string,"p_limit": number,"p_reviewed": boolean }; Returns: Json
                           },
"remove_member":
{ Args: { "p_member_id": string,"p_team_id": string,"p_user_id": string }; Returns: undefined
                           },
"renew_share":
{ Args: { "p_share_id": string,"p_token_hash": string,"p_user_id": string }; Returns: Json
                           },
"repair_lanes":
{ Args: Record<PropertyKey, never>; Returns: Json
                           },
"replay_job":
{ Args: { "p_actor": string,"p_by": string,"p_job_id": string,"p_reason": string }; Returns: Json
                           },
"request_deletion":
{ Args: { "p_delete_account": boolean,"p_queue": string,"p_user_id": string }; Returns: Json
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
"retry_stripe_events":
{ Args: Record<PropertyKey, never>; Returns: number
                           },
"review_refused":
{ Args: { "p_actor": string,"p_by": string,"p_decision": string,"p_job_id": string,"p_reason": string }; Returns: Json
                           },
"revoke_admin":
{ Args: { "p_by": string,"p_reason": string,"p_who": string }; Returns: Json
                           },
"revoke_api_key":
{ Args: { "p_key_id": string,"p_user_id": string }; Returns: Json
                           },
"revoke_invitation":
{ Args: { "p_invitation_id": string,"p_team_id": string,"p_user_id": string }; Returns: Json
                           },
"revoke_share":
{ Args: { "p_share_id": string,"p_user_id": string }; Returns: Json
                           },
"rotate_api_key":
{ Args: { "p_hash": string,"p_key_id": string,"p_overlap_seconds": number,"p_prefix": string,"p_user_id": string }; Returns: Json
                           },
"set_member_role":
{ Args: { "p_member_id": string,"p_role": string,"p_team_id": string,"p_user_id": string }; Returns: Json
                           },
"set_plan":
{ Args: { "p_actor"?: string,"p_plan_id": string,"p_reason": string,"p_user_id": string }; Returns: undefined
                           },
"set_profile":
{ Args: { "p_changes": string,"p_user_id": string }; Returns: Json
                           },
"settle_purchase":
{ Args: { "p_purchase": string }; Returns: Json
                           },
"settle_storage":
{ Args: { "p_limit": number }; Returns: boolean
                           },
"snooze":
{ Args: { "p_job_id": string,"p_lease_token": string,"p_seconds": number }; Returns: undefined
                           },
"snooze_request":
{ Args: { "p_lease_token": string,"p_request_id": string,"p_seconds": number }; Returns: undefined
                           },
"stripe_catalogue":
{ Args: Record<PropertyKey, never>; Returns: Json
                           },
"stripe_inbox_stats":
{ Args: Record<PropertyKey, never>; Returns: Json
                           },
"sweep":
{ Args: Record<PropertyKey, never>; Returns: Json
                           },
"system_report":
{ Args: { "p_paid_priority": number }; Returns: Json
                           },
"take_credits":
{ Args: { "p_actor"?: string,"p_amount": number,"p_reason": string,"p_reference": string,"p_user_id": string }; Returns: Json
                           },
"touch_api_key":
{ Args: { "p_every_seconds": number,"p_key_id": string }; Returns: undefined
                           },
"unblock_hash":
{ Args: { "p_actor"?: string,"p_by": string,"p_reason": string,"p_sha256": string }; Returns: boolean
                           },
"update_api_key":
{ Args: { "p_changes": string,"p_key_id": string,"p_user_id": string }; Returns: Json
                           },
"update_collection":
{ Args: { "p_collection_id": string,"p_move": boolean,"p_name": string,"p_parent_id": string,"p_user_id": string }; Returns: Json
                           },
"update_team":
{ Args: { "p_name": string,"p_team_id": string,"p_user_id": string,"p_versions_to_keep": number }; Returns: Json
                           },
"wipe_batch":
{ Args: { "p_lease_token": string,"p_limit": number,"p_request_id": string }; Returns: Json
                           },
"wipe_money":
{ Args: { "p_lease_token": string,"p_request_id": string }; Returns: undefined
                           },
"wipe_objects":
{ Args: { "p_bucket": string,"p_lease_token": string,"p_paths": (string)[],"p_request_id": string }; Returns: number
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
