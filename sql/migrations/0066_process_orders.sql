-- What people have ordered supervisors to do. A supervisor reads the open orders for its id; a later one of its kind
-- replaces an earlier one. The row stays when it is closed, for who waits for it and for who looks back.
CREATE TABLE process_orders (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    process    text        NOT NULL,
    action     text        NOT NULL CHECK (action IN ('drain', 'resume', 'stop', 'resize')),
    processes  integer     CHECK (processes BETWEEN 1 AND 256),
    ordered_by text        NOT NULL,
    reason     text        CHECK (length(reason) <= 500),
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    taken_at   timestamptz,  -- the process has read it, and does it
    done_at    timestamptz,
    outcome    text        CHECK (outcome IN ('done', 'replaced', 'rejected', 'gone')),
    message    text,         -- why it was rejected
    CHECK ((action = 'resize') = (processes IS NOT NULL)),
    CHECK ((done_at IS NULL) = (outcome IS NULL)),
    CONSTRAINT process_orders_moments CHECK (
        at BETWEEN '0001-01-03' AND '9999-12-28'
        AND (taken_at IS NULL OR taken_at BETWEEN '0001-01-03' AND '9999-12-28')
        AND (done_at IS NULL OR done_at BETWEEN '0001-01-03' AND '9999-12-28'))
);
CREATE INDEX process_orders_open ON process_orders (process, id) WHERE done_at IS NULL;
CREATE INDEX process_orders_of ON process_orders (process, id DESC);
CREATE INDEX process_orders_age ON process_orders (at);

-- Orders for a process that is gone are closed with its row, by whichever release deletes that: nobody does them.
CREATE FUNCTION close_process_orders() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE process_orders SET done_at = clock_timestamp(), outcome = 'gone'
    WHERE process = OLD.id AND done_at IS NULL;
    RETURN NULL;
END
$$;
CREATE TRIGGER close_process_orders AFTER DELETE ON processes FOR EACH ROW EXECUTE FUNCTION close_process_orders();
