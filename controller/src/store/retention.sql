-- What is over, by when that was: retention asks for the oldest.
CREATE INDEX runs_over ON runs (ended_us) WHERE ended_us IS NOT NULL;
CREATE INDEX outbox_settled ON outbox (settled_us) WHERE settled_us IS NOT NULL;
CREATE INDEX approvals_answered ON approvals (answered_us) WHERE answered_us IS NOT NULL;

-- What stood in `body`, where this program could not read it: another version may.
ALTER TABLE runs ADD COLUMN unreadable TEXT;

-- When an event happened by its node's clock; NULL: not known, or it has waited here.
ALTER TABLE inbox ADD COLUMN event_us INTEGER;
-- Not before; NULL: now.
ALTER TABLE inbox ADD COLUMN due_us INTEGER;
CREATE INDEX inbox_due ON inbox (due_us) WHERE due_us IS NOT NULL;
-- When it was set aside.
ALTER TABLE inbox ADD COLUMN aside_us INTEGER;
UPDATE inbox SET aside_us = unixepoch () * 1000000 WHERE queued = 2;
CREATE INDEX inbox_aside ON inbox (aside_us) WHERE queued = 2;
