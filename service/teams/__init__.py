"""Teams: a library with several people, their roles, and invitations by address."""
