-- What workflows tell people, and ask them.
CREATE TABLE notices (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    time_us    INTEGER NOT NULL,
    host       TEXT NOT NULL,
    mux        TEXT NOT NULL,
    pane_id    INTEGER NOT NULL,
    generation TEXT NOT NULL,
    run_id     BLOB NOT NULL,
    workflow   TEXT NOT NULL,
    level      TEXT NOT NULL,
    text       TEXT NOT NULL,
    -- JSON; empty: nothing is asked.
    choices    TEXT NOT NULL,
    -- When the run stops waiting for an answer.
    until_us   INTEGER,
    -- Answered, or no longer asked.
    closed_us  INTEGER,
    answer     TEXT,
    who        TEXT
);
CREATE INDEX notices_asked ON notices (run_id) WHERE choices <> '' AND closed_us IS NULL;
CREATE INDEX notices_time ON notices (time_us);

-- How often a workflow ended, and how.
CREATE INDEX runs_ended ON runs (workflow, ended_us) WHERE ended_us IS NOT NULL;
