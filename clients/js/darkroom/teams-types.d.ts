/** Teams, their members and invitations. Times are ISO 8601. */

/** Owners manage, editors change pictures, viewers look. */
export type Role = "owner" | "editor" | "viewer";
export type GivenRole = Exclude<Role, "owner">;

export interface Team {
  team_id: string;
  name: string;
  /** The caller's own. */
  role: Role;
  versions_to_keep: number;
  /** By the plan of its owner. */
  seats: number;
  /** Members and open invitations. */
  seats_taken: number;
  /** The plan of its owner includes no teams: nothing can be changed. */
  read_only: boolean;
  created_at: string;
}

export interface Member {
  user_id: string;
  role: Role;
  /** For the owner of the team, and for the member. */
  email: string | null;
  created_at: string;
}

export interface TeamDocument extends Team {
  /** The owner first. */
  members: Member[];
}

export interface Invitation {
  invitation_id: string;
  team_id: string;
  team_name: string;
  email: string;
  role: GivenRole;
  status: "open" | "accepted" | "declined" | "revoked" | "expired";
  created_at: string;
  expires_at: string;
}

export interface MoveResult {
  image_id: string;
  done: boolean;
  /** Its id there: another one where that library had a picture of the same bytes. */
  now: string | null;
  code: "image_not_found" | null;
}
