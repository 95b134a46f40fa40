-- What the postgres sinks keep. They find both tables by the search path, so each schema of a database can have its own.

CREATE TABLE responses (
    id              text        NOT NULL,
    source          text        NOT NULL,
    submission_id   text        NOT NULL,
    type            text,
    subject         text,
    accepted_at     timestamptz NOT NULL,
    value           jsonb,
    plugin          text,
    kafka_topic     text        NOT NULL,
    kafka_partition integer     NOT NULL,
    kafka_offset    bigint      NOT NULL,
    stored_at       timestamptz NOT NULL DEFAULT now(),
    -- The time is part of it because an Idempotency-Key may be used for another submission after a day, and the id
    -- follows from the key. Within the day the sink does not insert what has the same id and source.
    PRIMARY KEY (id, source, accepted_at)
);

COMMENT ON TABLE responses IS 'Every record that the postgres sinks have read: submissions, or what steps made of them.';
COMMENT ON COLUMN responses.id IS 'Id of the record (ce_id): the id of the submission, or one derived from it by a step. topic/partition@offset if a foreign producer gave none.';
COMMENT ON COLUMN responses.source IS 'Where it began (ce_source): /forms/<name> of the form. Empty if the record does not say.';
COMMENT ON COLUMN responses.submission_id IS 'Id of the submission that the record stems from; equal to id if it is the submission itself.';
COMMENT ON COLUMN responses.type IS 'Kind of the record (ce_type): formline.submission.accepted, or formline.<step>.<port>.';
COMMENT ON COLUMN responses.subject IS 'The value of the form''s key field (ce_subject).';
COMMENT ON COLUMN responses.accepted_at IS 'When the submission was accepted (ce_time), to the microsecond.';
COMMENT ON COLUMN responses.value IS 'The JSON as accepted, or as the step wrote it. NULL if the record deletes its key.';
COMMENT ON COLUMN responses.plugin IS 'Name, version and digest of the plug-in that made the record; NULL for a submission.';
COMMENT ON COLUMN responses.kafka_topic IS 'Topic, partition and offset at which the record was read.';
COMMENT ON COLUMN responses.stored_at IS 'When the transaction that stored it began.';

-- The responses of one form, newest first, and those of a period.
CREATE INDEX responses_by_form ON responses (source, accepted_at DESC);

-- Everything of one student, customer, …. A hash, because the value of a key field may be longer than the 2.7 kB that a
-- B-tree takes.
CREATE INDEX responses_by_subject ON responses USING hash (subject) WHERE subject IS NOT NULL;

-- What steps made of a submission. It costs nothing where a sink reads the submissions themselves.
CREATE INDEX responses_by_submission ON responses USING hash (submission_id) WHERE submission_id <> id;

-- No index on value: it makes inserts dearer by more than a quarter (PostgreSQL 15, eight fields), and most installations
-- never ask for it. For questions such as value @> '{"university": "X"}':
--   CREATE INDEX CONCURRENTLY ON responses USING gin (value jsonb_path_ops);

CREATE TABLE sink_offsets (
    sink       text        NOT NULL,
    topic      text        NOT NULL,
    partition  integer     NOT NULL,
    next       bigint      NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sink, topic, partition)
);

COMMENT ON TABLE sink_offsets IS 'How far each sink is. It moves in the transaction that stores the rows, so both are true or neither.';
COMMENT ON COLUMN sink_offsets.sink IS 'Consumer group of the sink: formline.<app>.<sink>.';
COMMENT ON COLUMN sink_offsets.next IS 'The offset to read next: everything before it is stored or parked as a dead letter. Delete a sink''s rows, while it is stopped, to have everything that Kafka still holds read again; what is there already is not stored twice.';
