"""`darkroom admin …`: what operators do, from a machine that has the service key. It looks and acts through what the
API uses; the audit log names the user of the machine."""

import typer

from cli.admin import jobs, queues, safety, system, users

app = typer.Typer(no_args_is_help=True, help="Users, credits, jobs, refused and blocked pictures, the audit.")
for part in (users, jobs, queues, safety, system):
    app.add_typer(part.app)
