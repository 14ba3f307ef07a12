"""From a delivery that waits to its end: admitted, given a slot, claimed, called and recorded."""
