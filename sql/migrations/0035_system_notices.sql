-- What people are notified of once: that a run of a schedule is late. And which jobs fail without a notification.
ALTER TABLE runs ADD COLUMN late_at timestamptz;  -- when its lateness was reported; null: it was not

ALTER TABLE job_types ADD COLUMN notifies_failure boolean NOT NULL DEFAULT true;
UPDATE job_types SET notifies_failure = false WHERE name = 'deliver';
