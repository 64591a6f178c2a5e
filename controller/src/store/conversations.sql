-- Conversations from the agents' own session files.

CREATE TABLE sessions (
    id         INTEGER PRIMARY KEY,
    host       TEXT NOT NULL,
    agent      TEXT NOT NULL,
    session_id TEXT NOT NULL,
    UNIQUE (host, agent, session_id)
);

-- One message: the newest text that was told of (session, idx). `id` comes from the counter of `log`, so that both share
-- the order of arrival and the index of words. `stream` is the pane that told it first. `at_us` is its place in time and
-- never changes: by the agent's clock, never before the message before it, never after the capture.
CREATE TABLE messages (
    id            INTEGER PRIMARY KEY,
    session       INTEGER NOT NULL,
    idx           INTEGER NOT NULL,
    stream        INTEGER NOT NULL,
    at_us         INTEGER NOT NULL,
    said_us       INTEGER,
    captured_us   INTEGER NOT NULL,
    mid           TEXT NOT NULL,
    role          TEXT NOT NULL,
    name          TEXT NOT NULL,
    text          TEXT NOT NULL,
    cut_bytes     INTEGER NOT NULL,
    skipped_bytes INTEGER NOT NULL
);
CREATE UNIQUE INDEX messages_place ON messages (session, idx);
CREATE INDEX messages_mid ON messages (mid) WHERE mid <> '';

-- Which messages belong to which pane: a session that is resumed in another pane belongs to both.
CREATE TABLE said (
    stream  INTEGER NOT NULL,
    at_us   INTEGER NOT NULL,
    session INTEGER NOT NULL,
    idx     INTEGER NOT NULL,
    PRIMARY KEY (stream, at_us, session, idx)
) WITHOUT ROWID;
