-- What to compute (a row each) and what was computed.

CREATE TABLE indicator_definitions (
    name       text        PRIMARY KEY,
    function   text        NOT NULL,              -- TA-Lib function (upper case) or own function (lower case)
    params     jsonb       NOT NULL DEFAULT '{}',
    timeframes text[]      NOT NULL DEFAULT '{1min,hour,day,week,month}',
    enabled    boolean     NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE pattern_definitions (
    name                 text             PRIMARY KEY,
    function             text             NOT NULL,   -- TA-Lib CDL function (upper case) or own detector (lower case)
    params               jsonb            NOT NULL DEFAULT '{}',
    timeframes           text[]           NOT NULL DEFAULT '{1min,hour,day,week,month}',
    enabled              boolean          NOT NULL DEFAULT true,
    confidence_threshold double precision NOT NULL DEFAULT 0 CHECK (confidence_threshold BETWEEN 0 AND 1),
    created_at           timestamptz      NOT NULL DEFAULT now(),
    updated_at           timestamptz      NOT NULL DEFAULT now()
);

CREATE TABLE indicator_results (
    symbol        text             NOT NULL,
    timeframe     text             NOT NULL,
    indicator     text             NOT NULL,
    bar_time      timestamptz      NOT NULL,
    value         double precision NOT NULL,
    value_data    jsonb,                            -- every output by name, where there are several
    bars_used     integer          NOT NULL,
    run_id        bigint           NOT NULL,
    calculated_at timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, timeframe, indicator, bar_time)
);

CREATE TABLE daily_patterns (
    symbol       text             NOT NULL,
    timeframe    text             NOT NULL,
    pattern_name text             NOT NULL,
    bar_time     timestamptz      NOT NULL,
    direction    text             NOT NULL CHECK (direction IN ('bullish', 'bearish', 'neutral')),
    signal       integer          NOT NULL,
    confidence   double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    metadata     jsonb            NOT NULL DEFAULT '{}',
    run_id       bigint           NOT NULL,
    detected_at  timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (symbol, timeframe, pattern_name, bar_time)
);
CREATE INDEX daily_patterns_recent ON daily_patterns (bar_time DESC, confidence DESC);
