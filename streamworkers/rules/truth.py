"""The three values of the logic of rules, as numbers."""

# So that `not` is a change of sign, `and` the minimum and `or` the maximum.
TRUE, UNKNOWN, FALSE = 1, 0, -1
