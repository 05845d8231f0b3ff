CREATE TABLE IF NOT EXISTS accounts (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, kind TEXT NOT NULL,
    is_admin INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS members (
    organisation TEXT NOT NULL COLLATE NOCASE, user TEXT NOT NULL COLLATE NOCASE, role TEXT NOT NULL,
    PRIMARY KEY (organisation, user));
CREATE TABLE IF NOT EXISTS tokens (
    digest TEXT PRIMARY KEY, user TEXT NOT NULL COLLATE NOCASE, label TEXT NOT NULL, role TEXT NOT NULL,
    targets TEXT NOT NULL DEFAULT '[]', created_at TEXT NOT NULL, expires_at REAL);
CREATE TABLE IF NOT EXISTS repos (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, namespace TEXT NOT NULL COLLATE NOCASE,
    name TEXT NOT NULL COLLATE NOCASE, private INTEGER NOT NULL, gated TEXT,
    created_at TEXT NOT NULL, downloads INTEGER NOT NULL DEFAULT 0,
    summary_commit TEXT, summary TEXT, UNIQUE (kind, namespace, name));
CREATE TABLE IF NOT EXISTS former_names (
    kind TEXT NOT NULL, namespace TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL COLLATE NOCASE,
    repo TEXT NOT NULL, PRIMARY KEY (kind, namespace, name));
CREATE TABLE IF NOT EXISTS large_files (
    repo TEXT NOT NULL, oid TEXT NOT NULL, size INTEGER NOT NULL, pushed_at TEXT NOT NULL,
    PRIMARY KEY (repo, oid));
CREATE TABLE IF NOT EXISTS likes (
    user TEXT NOT NULL COLLATE NOCASE, repo TEXT NOT NULL, created_at TEXT NOT NULL,
    PRIMARY KEY (user, repo));
CREATE TABLE IF NOT EXISTS access_requests (
    repo TEXT NOT NULL, user TEXT NOT NULL COLLATE NOCASE, status TEXT NOT NULL, created_at TEXT NOT NULL,
    PRIMARY KEY (repo, user));
CREATE TABLE IF NOT EXISTS discussions (
    repo TEXT NOT NULL, num INTEGER NOT NULL, title TEXT NOT NULL, status TEXT NOT NULL,
    pull_request INTEGER NOT NULL, author TEXT NOT NULL, created_at TEXT NOT NULL,
    base_commit TEXT, merge_commit TEXT, PRIMARY KEY (repo, num));
CREATE TABLE IF NOT EXISTS discussion_events (
    id TEXT PRIMARY KEY, repo TEXT NOT NULL, num INTEGER NOT NULL, type TEXT NOT NULL,
    author TEXT NOT NULL, created_at TEXT NOT NULL, data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS collections (
    slug TEXT PRIMARY KEY, namespace TEXT NOT NULL COLLATE NOCASE, title TEXT NOT NULL, description TEXT,
    private INTEGER NOT NULL, theme TEXT NOT NULL, position INTEGER NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS collection_items (
    id TEXT PRIMARY KEY, slug TEXT NOT NULL, type TEXT NOT NULL, item TEXT NOT NULL, note TEXT,
    position INTEGER NOT NULL, UNIQUE (slug, type, item));
CREATE TABLE IF NOT EXISTS spaces (
    repo TEXT PRIMARY KEY, sdk TEXT NOT NULL, stage TEXT NOT NULL, hardware TEXT, requested TEXT,
    sleep_seconds INTEGER, storage TEXT);
CREATE TABLE IF NOT EXISTS space_settings (
    repo TEXT NOT NULL, type TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, description TEXT,
    updated_at TEXT NOT NULL, PRIMARY KEY (repo, type, key));
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL COLLATE NOCASE, stage TEXT NOT NULL, message TEXT,
    spec TEXT NOT NULL, secrets TEXT NOT NULL, created_at TEXT NOT NULL, started_at TEXT,
    finished_at TEXT, exit_code INTEGER, process INTEGER, scheduled TEXT);
CREATE TABLE IF NOT EXISTS scheduled_jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL COLLATE NOCASE, schedule TEXT NOT NULL,
    suspended INTEGER NOT NULL, concurrency INTEGER NOT NULL, spec TEXT NOT NULL, secrets TEXT NOT NULL,
    created_at TEXT NOT NULL, last_job TEXT, last_run_at TEXT, next_run_at TEXT);
CREATE TABLE IF NOT EXISTS endpoints (
    owner TEXT NOT NULL COLLATE NOCASE, name TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, message TEXT,
    spec TEXT NOT NULL, created_by TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    PRIMARY KEY (owner, name));
CREATE TABLE IF NOT EXISTS oauth_codes (
    code TEXT PRIMARY KEY, user TEXT NOT NULL, client TEXT NOT NULL, redirect_uri TEXT NOT NULL,
    scope TEXT NOT NULL, nonce TEXT, challenge TEXT, expires_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS oauth_apps (
    client TEXT PRIMARY KEY, secret_digest TEXT NOT NULL, name TEXT NOT NULL, redirect_uris TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS token_scopes (
    digest TEXT PRIMARY KEY, client TEXT NOT NULL, scopes TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS space_oauth (
    repo TEXT PRIMARY KEY, client TEXT NOT NULL, secret TEXT NOT NULL, seconds INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS application_repos (
    repo TEXT NOT NULL, client TEXT NOT NULL, PRIMARY KEY (repo, client));
CREATE TABLE IF NOT EXISTS job_secrets (
    job TEXT PRIMARY KEY, sealed TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS space_runs (
    repo TEXT PRIMARY KEY, run TEXT, message TEXT, commit_id TEXT, port INTEGER, process INTEGER, visited_at REAL);
