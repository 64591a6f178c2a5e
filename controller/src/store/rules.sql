-- Packs of rules that were pushed to all nodes. `hash` and `version` are of the text, `rules` is how many of it run
-- beside the other packs.
CREATE TABLE rule_packs (
    name      TEXT PRIMARY KEY NOT NULL,
    text      TEXT NOT NULL,
    shadow    INTEGER NOT NULL,
    version   TEXT NOT NULL,
    hash      TEXT NOT NULL,
    rules     INTEGER NOT NULL,
    who       TEXT NOT NULL,
    pushed_us INTEGER NOT NULL
);
