-- The controller's one database. Times are microseconds since the epoch, ids are 16 bytes, unsigned numbers are kept
-- within the positive half of SQLite's integers.

CREATE TABLE nodes (
    host         TEXT PRIMARY KEY,
    version      TEXT NOT NULL DEFAULT '',
    last_seen_us INTEGER NOT NULL DEFAULT 0,
    skew_ms      INTEGER NOT NULL DEFAULT 0,
    heartbeat    BLOB
) WITHOUT ROWID;

-- High-water marks: everything of this lane up to and with `acked` is in the log.
CREATE TABLE spools (
    host     TEXT NOT NULL,
    spool_id BLOB NOT NULL,
    lane     INTEGER NOT NULL,
    acked    INTEGER NOT NULL,
    PRIMARY KEY (host, spool_id, lane)
) WITHOUT ROWID;

-- Seqs that a node had to drop, named by a Hole record. A mark passes a hole only over such a row.
CREATE TABLE holes (
    host      TEXT NOT NULL,
    spool_id  BLOB NOT NULL,
    lane      INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq  INTEGER NOT NULL,
    cause     TEXT NOT NULL,
    time_us   INTEGER NOT NULL,
    PRIMARY KEY (host, spool_id, lane, first_seq)
) WITHOUT ROWID;

-- The last report of each pane, kept so that a restarted controller can still name them.
CREATE TABLE panes (
    host       TEXT NOT NULL,
    mux        TEXT NOT NULL,
    pane_id    INTEGER NOT NULL,
    report     BLOB NOT NULL,
    PRIMARY KEY (host, mux, pane_id)
) WITHOUT ROWID;

-- One life of one pane. Ids grow in the order of first sight, so they order the generations of an address.
CREATE TABLE streams (
    id         INTEGER PRIMARY KEY,
    host       TEXT NOT NULL,
    mux        TEXT NOT NULL,
    pane_id    INTEGER NOT NULL,
    generation TEXT NOT NULL,
    UNIQUE (host, mux, pane_id, generation)
);

-- Lines and gaps of all panes. `ord`: 0 a gap that begins at `row`, 1 a line, 2 a gap after `row` (one whose rows
-- nobody counted). `sub` tells gaps of one place apart; lines have 0, so that a place holds one line: the newest rev.
-- `id` is the order of arrival; a line that replaces another has a new one.
CREATE TABLE log (
    id      INTEGER PRIMARY KEY,
    stream  INTEGER NOT NULL,
    layout  INTEGER NOT NULL,
    row     INTEGER NOT NULL,
    ord     INTEGER NOT NULL,
    sub     INTEGER NOT NULL,
    rev     INTEGER NOT NULL,
    rows    INTEGER,
    time_us INTEGER NOT NULL,
    agent   TEXT,
    text    TEXT,
    cause   TEXT
);
CREATE UNIQUE INDEX log_place ON log (stream, layout, row, ord, sub);

-- Words of the lines, under the line's id; the text itself stands only in `log`.
CREATE VIRTUAL TABLE log_words USING fts5 (
    words, content='', contentless_delete=1, tokenize="unicode61 remove_diacritics 2"
);

-- Lines that an agent printed again: counted, not logged.
CREATE TABLE repaints (
    stream    INTEGER NOT NULL,
    layout    INTEGER NOT NULL,
    first_row INTEGER NOT NULL,
    time_us   INTEGER NOT NULL,
    rows      INTEGER NOT NULL,
    PRIMARY KEY (stream, layout, first_row, time_us)
) WITHOUT ROWID;

CREATE TABLE events (
    n            INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB NOT NULL UNIQUE,
    host         TEXT NOT NULL,
    mux          TEXT,
    pane_id      INTEGER,
    generation   TEXT,
    time_us      INTEGER NOT NULL,
    event        TEXT NOT NULL,
    agent        TEXT NOT NULL,
    body         BLOB NOT NULL,
    trace_parent TEXT NOT NULL
);
CREATE INDEX events_pane ON events (host, mux, pane_id, n);
CREATE INDEX events_time ON events (time_us);

-- What has happened and is not yet worked off: an event that may start runs, or an input for one run.
CREATE TABLE inbox (
    n            INTEGER PRIMARY KEY AUTOINCREMENT,
    host         TEXT NOT NULL,
    mux          TEXT NOT NULL,
    pane_id      INTEGER NOT NULL,
    generation   TEXT NOT NULL,
    run_id       BLOB,
    workflow     TEXT,
    body         BLOB NOT NULL,
    trace_parent TEXT NOT NULL,
    -- 1: a trigger that waits until the pane's present run has ended. 2: set aside, for it could not be worked off.
    queued       INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX inbox_fresh ON inbox (queued, n);
CREATE INDEX inbox_pane ON inbox (host, mux, pane_id, generation, n) WHERE queued = 1;

CREATE TABLE runs (
    run_id     BLOB PRIMARY KEY,
    workflow   TEXT NOT NULL,
    host       TEXT NOT NULL,
    mux        TEXT NOT NULL,
    pane_id    INTEGER NOT NULL,
    generation TEXT NOT NULL,
    state      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    started_us INTEGER NOT NULL,
    ended_us   INTEGER,
    wake_us    INTEGER,
    body       TEXT NOT NULL
) WITHOUT ROWID;
-- One run at a time acts on a pane.
CREATE UNIQUE INDEX runs_open ON runs (host, mux, pane_id, generation) WHERE ended_us IS NULL;
CREATE INDEX runs_wake ON runs (wake_us) WHERE wake_us IS NOT NULL;
CREATE INDEX runs_started ON runs (started_us);

-- The recorded inputs of a run, of which its state is the fold.
CREATE TABLE run_inputs (
    run_id  BLOB NOT NULL,
    n       INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    input   TEXT NOT NULL,
    PRIMARY KEY (run_id, n)
) WITHOUT ROWID;

-- Actions to be done. `n` is the fence. `body` is the whole action until it is settled, then empty: what remains is
-- the redacted summary.
CREATE TABLE outbox (
    n               INTEGER PRIMARY KEY AUTOINCREMENT,
    action_id       BLOB NOT NULL UNIQUE,
    host            TEXT NOT NULL,
    who             TEXT NOT NULL,
    run_id          BLOB,
    idempotency_key TEXT,
    body            BLOB NOT NULL,
    summary         TEXT NOT NULL,
    created_us      INTEGER NOT NULL,
    permitted_us    INTEGER,
    settled_us      INTEGER,
    outcome         TEXT,
    reason          TEXT
);
CREATE UNIQUE INDEX outbox_key ON outbox (who, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX outbox_open ON outbox (host, n) WHERE settled_us IS NULL;

-- One-time join tokens: only the hash of the secret is kept.
CREATE TABLE tokens (
    secret_hash BLOB PRIMARY KEY,
    name        TEXT NOT NULL,
    created_us  INTEGER NOT NULL,
    created_by  TEXT NOT NULL,
    expires_us  INTEGER NOT NULL,
    replaces    INTEGER NOT NULL,
    used_us     INTEGER
) WITHOUT ROWID;

CREATE TABLE certificates (
    serial     TEXT PRIMARY KEY,
    role       TEXT NOT NULL,
    name       TEXT NOT NULL,
    issued_us  INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    revoked_us INTEGER
) WITHOUT ROWID;
CREATE INDEX certificates_name ON certificates (role, name, expires_us);

-- Where nothing may begin: everything (empty selector, no pane), what a selector names now and later, or one pane.
CREATE TABLE pauses (
    scope      TEXT PRIMARY KEY,
    who        TEXT NOT NULL,
    reason     TEXT NOT NULL,
    since_us   INTEGER NOT NULL
) WITHOUT ROWID;

-- Every decision. Rows are never changed; each holds the hash of its own words and of the row before it.
CREATE TABLE audit (
    n        INTEGER PRIMARY KEY,
    time_us  INTEGER NOT NULL,
    who      TEXT NOT NULL,
    what     TEXT NOT NULL,
    target   TEXT NOT NULL,
    decision TEXT NOT NULL,
    detail   TEXT NOT NULL,
    hash     BLOB NOT NULL
);
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE (ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE (ABORT, 'the audit trail is append-only'); END;
