"""Notifications: what users have to know, and the deliveries of it.

An event on the channel `streamworkers:notify` of the outbox becomes a row of `notifications` in the transaction that
deletes it. Routing makes deliveries of it, by the preferences of its user; each is an item of a run of `deliver`.
"""
