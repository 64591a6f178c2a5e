-- `time_us` of the record at the mark; 0 = it had none, or the mark is older than this column. A spool that was put back
-- from a backup gives the same seq to another record.
ALTER TABLE spools ADD COLUMN acked_time_us INTEGER NOT NULL DEFAULT 0;
