
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
                },"credit_ledger": {
                  Row: {
                    "created_at": string,"delta": number,"id": number,"reason": string,"reference": string,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"delta": number,"id"?: never,"reason": string,"reference": string,"user_id": string
                  }
                  Update: {
                    "created_at"?: string,"delta"?: number,"id"?: never,"reason"?: string,"reference"?: string,"user_id"?: string
                  }
                  Relationships: [
                    
                  ]
                },"credits": {
                  Row: {
                    "balance": number,"updated_at": string,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "balance"?: number,"updated_at"?: string,"user_id": string
                  }
                  Update: {
                    "balance"?: number,"updated_at"?: string,"user_id"?: string
                  }
                  Relationships: [
                    
                  ]
                },"image_outputs": {
                  Row: {
                    "bucket": string,"cache_key": string | null,"content_type": string,"created_at": string,"deleted_at": string | null,"expires_at": string | null,"height": number,"id": string,"image_id": string | null,"input_content_type": string,"input_height": number,"input_sha256": string,"input_size": number,"input_width": number,"job_id": string | null,"op_key": string,"path": string,"sha256": string,"size": number,"thumb_path": string,"user_id": string | null,"variant": string,"width": number,"output_document": Json | null
                  }
                  ComputedFields: "output_document"
                  Insert: {
                    "bucket": string,"cache_key"?: string | null,"content_type": string,"created_at"?: string,"deleted_at"?: string | null,"expires_at"?: string | null,"height": number,"id"?: string,"image_id"?: string | null,"input_content_type": string,"input_height": number,"input_sha256": string,"input_size": number,"input_width": number,"job_id"?: string | null,"op_key": string,"path": string,"sha256": string,"size": number,"thumb_path": string,"user_id"?: string | null,"variant": string,"width": number
                  }
                  Update: {
                    "bucket"?: string,"cache_key"?: string | null,"content_type"?: string,"created_at"?: string,"deleted_at"?: string | null,"expires_at"?: string | null,"height"?: number,"id"?: string,"image_id"?: string | null,"input_content_type"?: string,"input_height"?: number,"input_sha256"?: string,"input_size"?: number,"input_width"?: number,"job_id"?: string | null,"op_key"?: string,"path"?: string,"sha256"?: string,"size"?: number,"thumb_path"?: string,"user_id"?: string | null,"variant"?: string,"width"?: number
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
                    "content_type": string,"created_at": string,"filename": string,"height": number,"id": string,"sha256": string,"size": number,"user_id": string,"width": number
                  }
                  ComputedFields: never
                  Insert: {
                    "content_type": string,"created_at"?: string,"filename": string,"height": number,"id"?: string,"sha256": string,"size": number,"user_id": string,"width": number
                  }
                  Update: {
                    "content_type"?: string,"created_at"?: string,"filename"?: string,"height"?: number,"id"?: string,"sha256"?: string,"size"?: number,"user_id"?: string,"width"?: number
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
                    "attempt": number,"cache_key": string | null,"charged": number,"content_type": string | null,"created_at": string,"error": Json | null,"expires_at": string,"filename": string,"finished_at": string | null,"height": number,"id": string,"lease_expires_at": string | null,"lease_token": string | null,"max_attempts": number,"op_key": string,"output_id": string | null,"price": number,"priority": number,"progress": number,"queue": string,"request_id": string | null,"run_at": string,"sha256": string,"size": number,"started_at": string | null,"status": string,"step": string | null,"upload_expires_at": string | null,"upload_path": string,"user_id": string | null,"variant": string,"wants_persist": boolean,"width": number,"worker": string | null,"hold_credits": undefined | null,"job_document": Json | null
                  }
                  ComputedFields: "hold_credits" | "job_document"
                  Insert: {
                    "attempt"?: number,"cache_key"?: string | null,"charged"?: number,"content_type"?: string | null,"created_at"?: string,"error"?: Json | null,"expires_at": string,"filename": string,"finished_at"?: string | null,"height": number,"id"?: string,"lease_expires_at"?: string | null,"lease_token"?: string | null,"max_attempts"?: number,"op_key": string,"output_id"?: string | null,"price"?: number,"priority"?: number,"progress"?: number,"queue"?: string,"request_id"?: string | null,"run_at"?: string,"sha256": string,"size": number,"started_at"?: string | null,"status"?: string,"step"?: string | null,"upload_expires_at"?: string | null,"upload_path": string,"user_id"?: string | null,"variant"?: string,"wants_persist"?: boolean,"width": number,"worker"?: string | null
                  }
                  Update: {
                    "attempt"?: number,"cache_key"?: string | null,"charged"?: number,"content_type"?: string | null,"created_at"?: string,"error"?: Json | null,"expires_at"?: string,"filename"?: string,"finished_at"?: string | null,"height"?: number,"id"?: string,"lease_expires_at"?: string | null,"lease_token"?: string | null,"max_attempts"?: number,"op_key"?: string,"output_id"?: string | null,"price"?: number,"priority"?: number,"progress"?: number,"queue"?: string,"request_id"?: string | null,"run_at"?: string,"sha256"?: string,"size"?: number,"started_at"?: string | null,"status"?: string,"step"?: string | null,"upload_expires_at"?: string | null,"upload_path"?: string,"user_id"?: string | null,"variant"?: string,"wants_persist"?: boolean,"width"?: number,"worker"?: string | null
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
                    "created_at": string,"id": string,"max_pending": number,"max_running": number,"name": string,"persistent": boolean,"priority": number,"signup_credits": number
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"id": string,"max_pending": number,"max_running": number,"name": string,"persistent"?: boolean,"priority"?: number,"signup_credits"?: number
                  }
                  Update: {
                    "created_at"?: string,"id"?: string,"max_pending"?: number,"max_running"?: number,"name"?: string,"persistent"?: boolean,"priority"?: number,"signup_credits"?: number
                  }
                  Relationships: [
                    
                  ]
                },"profiles": {
                  Row: {
                    "created_at": string,"plan_id": string,"updated_at": string,"user_id": string
                  }
                  ComputedFields: never
                  Insert: {
                    "created_at"?: string,"plan_id"?: string,"updated_at"?: string,"user_id": string
                  }
                  Update: {
                    "created_at"?: string,"plan_id"?: string,"updated_at"?: string,"user_id"?: string
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
                },"tombstones": {
                  Row: {
                    "attempts": number,"bucket": string,"created_at": string,"id": number,"not_before": string,"path": string,"purged_at": string | null,"reason": string
                  }
                  ComputedFields: never
                  Insert: {
                    "attempts"?: number,"bucket": string,"created_at"?: string,"id"?: never,"not_before"?: string,"path": string,"purged_at"?: string | null,"reason": string
                  }
                  Update: {
                    "attempts"?: number,"bucket"?: string,"created_at"?: string,"id"?: never,"not_before"?: string,"path"?: string,"purged_at"?: string | null,"reason"?: string
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
"check_invariants":
{ Args: Record<PropertyKey, never>; Returns: {
              "invariant": string,"subject": string
            }[]
                           },
"claim_next":
{ Args: { "p_lease_seconds": number,"p_queue": string,"p_worker": string }; Returns: Json
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
"due_tombstones":
{ Args: { "p_limit": number }; Returns: Json
                           },
"entomb":
{ Args: { "p_bucket": string,"p_path": string,"p_reason": string }; Returns: undefined
                           },
"entomb_leftovers":
{ Args: { "p_bucket": string,"p_job": Omit<Database["public"]['Tables']["jobs"]['Row'], Database["public"]['Tables']["jobs"]['ComputedFields']>,"p_path": string,"p_thumb_path": string }; Returns: undefined
                           },
"entomb_orphans":
{ Args: { "p_limit": number,"p_older_than": string }; Returns: number
                           },
"expire_due":
{ Args: { "p_limit": number }; Returns: Json
                           },
"fail_job":
{ Args: { "p_drop_upload": boolean,"p_error": string,"p_job_id": string,"p_lease_token": string,"p_retry_seconds": number }; Returns: Json
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
"path": string,
"sha256": string,
"size": number,
"thumb_path": string,
"user_id": string | null,
"variant": string,
"width": number
            }
                          SetofOptions: {
        from: "*"
        to: "image_outputs"
        isOneToOne: true
        isSetofReturn: false
      } },
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
"get_job":
{ Args: { "p_job_id": string,"p_user_id": string }; Returns: Json
                           },
"get_job_events":
{ Args: { "p_after": number,"p_job_id": string,"p_user_id": string }; Returns: Json
                           },
"grant_credits":
{ Args: { "p_amount": number,"p_reason": string,"p_reference": string,"p_user_id": string }; Returns: boolean
                           },
"heartbeat":
{ Args: { "p_job_id": string,"p_lease_seconds": number,"p_lease_token": string,"p_progress": number,"p_step": string }; Returns: string
                           },
"hold_credits":
{ Args: { "p_job": Omit<Database["public"]['Tables']["jobs"]['Row'], Database["public"]['Tables']["jobs"]['ComputedFields']> }; Returns: undefined
                           },
"intake":
{ Args: { "p_await_seconds": number,"p_cacheable": boolean,"p_content_type": string,"p_filename": string,"p_height": number,"p_op_key": string,"p_output_seconds": number,"p_price": number,"p_queue": string,"p_request_id": string,"p_sha256": string,"p_size": number,"p_upload_seconds": number,"p_use_cache": boolean,"p_user_id": string,"p_variant": string,"p_wants_persist": boolean,"p_width": number }; Returns: Json
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
"mark_uploaded":
{ Args: { "p_job_id": string,"p_user_id": string }; Returns: Json
                           },
"move_credits":
{ Args: { "p_delta": number,"p_reason": string,"p_reference": string,"p_user_id": string }; Returns: boolean
                           },
"output_document":
{ Args: { "p_output": Omit<Database["public"]['Tables']["image_outputs"]['Row'], Database["public"]['Tables']["image_outputs"]['ComputedFields']> }; Returns: Json
                           },
"queue_position":
{ Args: { "p_job_id": string }; Returns: number
                           },
"queue_stats":
{ Args: Record<PropertyKey, never>; Returns: Json
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
"path": string,
"sha256": string,
"size": number,
"thumb_path": string,
"user_id": string | null,
"variant": string,
"width": number
            }
                          SetofOptions: {
        from: "*"
        to: "image_outputs"
        isOneToOne: true
        isSetofReturn: false
      } },
"settle_credits":
{ Args: { "p_charge": number,"p_job": Omit<Database["public"]['Tables']["jobs"]['Row'], Database["public"]['Tables']["jobs"]['ComputedFields']> }; Returns: undefined
                           },
"snooze":
{ Args: { "p_job_id": string,"p_lease_token": string,"p_seconds": number }; Returns: undefined
                           },
"sweep":
{ Args: Record<PropertyKey, never>; Returns: Json
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
