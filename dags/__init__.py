"""Schedules: what happens every night and every week. Thin files; the rooms do the work."""
