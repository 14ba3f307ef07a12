"""The producer: turns ticks of schedules and events of other programs into runs, exactly once each."""
