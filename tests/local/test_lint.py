"""The lint of migrations finds what would stop or damage an application that runs meanwhile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.local.lint import lint
from scripts.local.migration import MIGRATIONS


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        (
            "alter table public.jobs add column at timestamptz default clock_timestamp();",
            "adding-field-with-default",
        ),
        (
            "alter table public.jobs add column half integer generated always as (width / 2) stored;",
            "generated column",
        ),
        ("alter table public.jobs alter column step set not null;", "adding-not-nullable-field"),
        ("alter table public.jobs alter column size type numeric;", "changing-column-type"),
        ("create index jobs_by_step on public.jobs (step);", "require-concurrent-index-creation"),
    ],
)
def test_what_rewrites_or_scans_a_table_under_a_lock_is_found(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], statement: str, rule: str
) -> None:
    migration = tmp_path / "20990101000000_hazard.sql"
    migration.write_text(statement + "\n")
    assert not lint([migration])
    assert rule in capfd.readouterr().out
    migration.write_text("alter table public.jobs add column note text;\n")
    assert lint([migration])


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("truncate public.jobs;", "truncate"),
        ("select 1; Truncate Table public.jobs;", "truncate"),
        ("vacuum full public.jobs;", "vacuum"),
        ("vacuum (full, analyze) public.jobs;", "vacuum"),
        ("cluster public.jobs using jobs_pkey;", "cluster"),
        ("update public.jobs set step = null;", "whole-table"),
        ("update only public.jobs as j set step = 'where';", "whole-table"),
        ("update public.jobs j set step = (select p.step from old p where p.id = j.id);", "whole-table"),
        ("/* where */ delete from public.jobs -- where\n;", "whole-table"),
        (
            "with gone as (delete from public.jobs returning id) select count(*) from gone where id is null;",
            "whole-table",
        ),
        ("with d as (select 1 where true) delete from public.jobs using d;", "whole-table"),
        ("do $$ begin truncate public.jobs; end $$;", "truncate"),
        ("do $$ begin if true then update public.jobs set step = null; end if; end $$;", "whole-table"),
        (
            "do $$ declare r record; begin\n"
            "for r in select 1 from public.teams where true loop delete from public.jobs; end loop; end $$;",
            "whole-table",
        ),
        ("do $$ begin execute 'truncate ' || 'public.jobs'; end $$;", "truncate"),
        ("do $x$ begin execute format('delete from public.%I', 'jobs'); end $x$;", "whole-table"),
        ("do $$ begin create index jobs_by_step on public.jobs (step); end $$;", "index-in-block"),
        (
            "do $$ begin execute format('create unique index %I on %I (id)', 'a', 'jobs'); end $$;",
            "index-in-block",
        ),
    ],
)
def test_what_is_done_to_a_whole_table_is_found(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], statement: str, rule: str
) -> None:
    migration = tmp_path / "20990101000000_hazard.sql"
    migration.write_text(f"-- The hazard.\n\n{statement}\n")
    assert not lint([migration])
    said = capfd.readouterr().out
    assert re.search(rf"^{migration}:[34]:0: warning: {rule} ", said, re.MULTILINE), said


@pytest.mark.parametrize(
    "statement",
    [
        "update public.jobs set step = case when step = 'a' then 'b' else 'c' end where step is not null;",
        "delete from public.jobs using public.teams t where t.id = team_id;",
        "with old as (select id from public.jobs) update public.jobs j set step = '' from old where old.id = j.id;",
        "insert into public.plans (id) values ('truncate') on conflict (id) do update set name = excluded.name;",
        "create trigger watch after update or delete or truncate on public.jobs execute function private.watch();",
        "grant update, delete, truncate on public.jobs to service_role;",
        "comment on table public.jobs is 'Nothing here; truncate public.jobs';",
        "create function private.empty() returns void language sql as $$ truncate public.jobs $$;",
        "do $$ begin perform 1 from public.jobs for update; raise exception 'truncate; delete from x'; end $$;",
        "do $$ begin execute format('update %I set step = 1 where %s', 'jobs', 'a = b'); end $$;",
        "do $$ begin execute 'delete from jobs' || ' where id is null'; end $$;",
    ],
)
def test_what_is_done_to_some_rows_or_not_now_is_no_finding(tmp_path: Path, statement: str) -> None:
    migration = tmp_path / "20990101000000_harmless.sql"
    migration.write_text(f"{statement}\n")
    assert lint([migration])


def test_a_reason_lets_one_statement_off(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    migration = tmp_path / "20990101000000_reasons.sql"
    statement = "update public.plans set name = initcap(name);\n"
    migration.write_text(f"-- lint-ignore whole-table: there are four plans\n{statement}")
    assert lint([migration])
    migration.write_text(f"do $$ begin\n-- lint-ignore whole-table: four plans\n{statement}end $$;\n")
    assert lint([migration])
    migration.write_text(f"-- lint-ignore whole-table: there are four plans\n{statement}{statement}")
    assert not lint([migration])
    migration.write_text(f"-- lint-ignore whole-table\n{statement}")
    assert not lint([migration])


def test_the_migrations_have_no_finding() -> None:
    assert lint(sorted(MIGRATIONS.glob("*.sql")))
