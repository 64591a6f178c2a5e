-- The key that everything sealed is sealed with. One row, from the first start on.
CREATE TABLE vault (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    key_id     BLOB NOT NULL,
    -- Of a passphrase: how it is stretched.
    salt       BLOB,
    iterations INTEGER,
    since_us   INTEGER NOT NULL
);

-- Off until somebody turns it on: an account is then left for another of its pool.
CREATE TABLE pools (
    name      TEXT PRIMARY KEY,
    switching INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE accounts (
    alias         TEXT PRIMARY KEY,
    agent         TEXT NOT NULL,
    pool          TEXT NOT NULL REFERENCES pools (name),
    sign_in       TEXT NOT NULL,
    provider      TEXT NOT NULL,
    -- 0: any number.
    max_panes     INTEGER NOT NULL,
    disabled      INTEGER NOT NULL DEFAULT 0,
    -- JSON list of hosts on which the agent's ordinary home belongs to it; `*`: all.
    default_hosts TEXT NOT NULL,
    last_used_us  INTEGER
) WITHOUT ROWID;
CREATE INDEX accounts_pool ON accounts (pool);

-- Sealed, each for its own account and field.
CREATE TABLE account_secrets (
    alias  TEXT NOT NULL REFERENCES accounts (alias) ON DELETE CASCADE,
    field  TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (alias, field)
) WITHOUT ROWID;

-- Which panes use an account, or are about to. A run leases once.
CREATE TABLE account_leases (
    run_id     BLOB PRIMARY KEY,
    alias      TEXT NOT NULL REFERENCES accounts (alias) ON DELETE CASCADE,
    host       TEXT NOT NULL,
    mux        TEXT NOT NULL,
    pane_id    INTEGER NOT NULL,
    generation TEXT NOT NULL,
    since_us   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX account_leases_pane ON account_leases (host, mux, pane_id);
CREATE INDEX account_leases_alias ON account_leases (alias);

-- What was seen of an account's limits. `model` empty: of all models.
CREATE TABLE account_windows (
    alias        TEXT NOT NULL REFERENCES accounts (alias) ON DELETE CASCADE,
    window       TEXT NOT NULL,
    model        TEXT NOT NULL,
    percent_used REAL,
    resets_us    INTEGER,
    observed_us  INTEGER NOT NULL,
    reached      INTEGER NOT NULL,
    PRIMARY KEY (alias, window, model)
) WITHOUT ROWID;

-- Homes of accounts on hosts. `signed_in` NULL: not known. `sign_in_run`: the run that signs it in, while it is open.
CREATE TABLE account_homes (
    alias       TEXT NOT NULL REFERENCES accounts (alias) ON DELETE CASCADE,
    host        TEXT NOT NULL,
    signed_in   INTEGER,
    sign_in_run BLOB,
    PRIMARY KEY (alias, host)
) WITHOUT ROWID;
