-- The migrations of packages with jobs that were applied: each package has numbers of its own.
CREATE TABLE package_migrations (
    package    text        NOT NULL,
    number     integer     NOT NULL CHECK (number > 0),
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (package, number)
);
