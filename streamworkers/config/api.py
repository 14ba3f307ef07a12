"""Settings of the HTTP API."""

from pydantic import BaseModel, Field


class ApiSettings(BaseModel):
    """Where the API listens, and what a request may take."""

    api_host: str = Field("127.0.0.1", min_length=1, description="Address on which the HTTP API listens")
    api_port: int = Field(8080, ge=0, le=65_535, description="Port of the HTTP API; 0 picks a free one")
    api_body_bytes: int = Field(
        1_048_576, ge=1024, le=16_777_216, description="Largest body of a request to the HTTP API, in bytes"
    )
    api_connections: int = Field(
        8,
        ge=1,
        le=100,
        description="Connections to PostgreSQL of an API process, and requests that it works on at once",
    )
    api_statement_seconds: float = Field(
        2.0, ge=0.1, le=60, description="Seconds that one statement of a request to the HTTP API may take"
    )
    api_request_seconds: float = Field(
        10.0,
        ge=1,
        le=120,
        description="Seconds after which a request to the HTTP API is answered, whatever it waits for",
    )
    api_streams: int = Field(
        500, ge=0, le=900, description="Requests that may follow the events of runs in an API process at once"
    )
    api_stream_seconds: float = Field(
        300.0,
        ge=1,
        le=86_400,
        description="Longest life of a stream of events, in seconds; its client goes on behind the last id",
    )
    api_ready_seconds: float = Field(
        1.0, ge=0.1, le=30, description="Seconds within which `/readyz` of the HTTP API answers"
    )
    api_requests_per_minute: int = Field(
        6_000,
        ge=0,
        le=1_000_000,
        description="Requests a minute that one token may send to the HTTP API, to all processes; 0 for no limit",
    )
