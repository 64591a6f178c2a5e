-- Actions that the policy holds until a person has looked. `body` is the whole action until it is answered, then empty.
CREATE TABLE approvals (
    n               INTEGER PRIMARY KEY AUTOINCREMENT,
    action_id       BLOB NOT NULL UNIQUE,
    host            TEXT NOT NULL,
    mux             TEXT NOT NULL,
    pane_id         INTEGER NOT NULL,
    generation      TEXT NOT NULL,
    who             TEXT NOT NULL,
    run_id          BLOB,
    idempotency_key TEXT,
    verb            TEXT NOT NULL,
    summary         TEXT NOT NULL,
    rule            TEXT NOT NULL,
    body            BLOB NOT NULL,
    -- Hash of what the pane showed when it was asked; empty: there is no pane yet; NULL: nobody has looked.
    shown           BLOB,
    created_us      INTEGER NOT NULL,
    until_us        INTEGER NOT NULL,
    -- open allowed denied expired
    state           TEXT NOT NULL,
    reason          TEXT NOT NULL,
    answered_us     INTEGER,
    answered_by     TEXT
);
CREATE INDEX approvals_open ON approvals (until_us) WHERE state = 'open';
CREATE UNIQUE INDEX approvals_key ON approvals (who, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- The trail only grows at its end: neither an update nor a delete (see above), nor a row in the place of another.
CREATE TRIGGER audit_at_the_end BEFORE INSERT ON audit
WHEN NEW.n IS NOT (SELECT coalesce(max(n), 0) + 1 FROM audit)
BEGIN SELECT RAISE (ABORT, 'the audit trail is append-only'); END;
CREATE INDEX audit_time ON audit (time_us);
